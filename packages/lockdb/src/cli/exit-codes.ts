/** One exit code, and what it says; commands for which it says something of their own have a text of their own. */
export interface ExitRow {
  readonly code: number;
  /** Of any command but those below; null: only of those. */
  readonly says: string | null;
  readonly serve?: string;
  readonly run?: string;
  /** `store inspect`. */
  readonly inspect?: string;
}

/** Whose exit codes: of commands with none of their own, or of one that has. */
export type ExitCodesOf = "says" | "serve" | "run" | "inspect";

/** Every exit code (I4). From 64 on they are those of sysexits.h, as far as it has a fitting one. */
export const EXIT_ROWS = {
  ok: { code: 0, says: "done", serve: "stopped in order", inspect: "all of it is whole" },
  failed: {
    code: 1,
    says: "any other error; also: `lock` did not get the lock in time",
    serve: "could not start, go on, or stop in order; standard error says why",
    inspect: "something is damaged, or a server is using the folder",
  },
  usage: {
    code: 64,
    says: "wrong use of the command line",
    serve: "a wrong flag, variable or configuration file",
    run: "wrong use of the command line",
  },
  unreachable: {
    code: 69,
    says: "the server could not be reached, or what answers there is no LockDB",
    serve: "@lockdb/server is not installed",
    run: "the server could not be reached",
  },
  lost: {
    code: 70,
    says: "the lock was lost, or about to be, and the command was stopped",
    run: "the lock was lost, or about to be, and the command was stopped",
  },
  notAcquired: {
    code: 75,
    says: "`run` did not get the lock",
    run: "the lock was not free in time; standard error tells who holds it",
  },
  refused: {
    code: 77,
    says: "refused: API key missing, wrong or not entitled, or the trial has ended",
    run: "refused: API key missing, wrong or not entitled, or the trial has ended",
  },
  notExecutable: { code: 126, says: null, run: "the command could not be executed" },
  notFound: { code: 127, says: null, run: "the command was not found" },
} as const satisfies Readonly<Record<string, ExitRow>>;

export const EXIT = Object.fromEntries(Object.entries(EXIT_ROWS).map(([name, { code }]) => [name, code])) as {
  readonly [K in keyof typeof EXIT_ROWS]: (typeof EXIT_ROWS)[K]["code"];
};

const OF_RUN = "the command's own, or 128 + n if signal n ended it; else";
const OF_SIGNALS = "Interrupted by signal n, a command exits with 128 + n: 130 for Ctrl-C, 143 for SIGTERM.";

/** For the end of help texts: the codes of a command, or of all that have none of their own. */
export function exitHelp(command: ExitCodesOf = "says"): string {
  const head = command === "run" ? `Exit code: ${OF_RUN}` : "Exit codes:";
  return `${head}\n${linesOf(command)}`;
}

/** All there is to say about them. */
export function allExitCodes(): string {
  return [
    exitHelp(),
    OF_SIGNALS.replace(": ", ":\n"),
    `lockdb run: ${OF_RUN}\n${linesOf("run")}`,
    `lockdb serve:\n${linesOf("serve")}`,
    `lockdb store inspect:\n${linesOf("inspect")}`,
  ].join("\n\n");
}

/** docs/exit-codes.md, made of the table. */
export function exitCodesPage(): string {
  const table = (command: ExitCodesOf) =>
    `| code | says |\n| --- | --- |\n${rowsOf(command)
      .map(([code, text]) => `| ${code} | ${text} |`)
      .join("\n")}`;
  return `# Exit codes of the command line

\`lockdb help exit-codes\` prints them too. This page is made of the table in \`packages/lockdb/src/cli/exit-codes.ts\`:
\`npm run build && node tests/page.js exit-codes > docs/exit-codes.md\`.

${table("says")}

${OF_SIGNALS} What went wrong is on standard error, with \`--json\` as one JSON object.

## \`lockdb run\`

The exit code is ${OF_RUN}:

${table("run")}

## \`lockdb serve\`

${table("serve")}

## \`lockdb store inspect\`

${table("inspect")}
`;
}

function linesOf(command: ExitCodesOf): string {
  const rows = rowsOf(command);
  const width = Math.max(...rows.map(([code]) => String(code).length));
  return rows.map(([code, text]) => `  ${String(code).padEnd(width)}  ${text}`).join("\n");
}

function rowsOf(command: ExitCodesOf): readonly (readonly [code: number, text: string])[] {
  return Object.values<ExitRow>(EXIT_ROWS).flatMap((row) => {
    const text = row[command];
    return text == null ? [] : [[row.code, text] as const];
  });
}
