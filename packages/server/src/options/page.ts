import { CLIENT_VARIABLES, fileVariable, TOKEN_VARIABLE } from "lockdb/protocol";
import { sections, tomlLine } from "./print.js";
import { CONFIG_OPTION, type OptionRow } from "./table.js";

/** docs/configuration.md, made of the table. */
export function optionsPage(): string {
  const tables = sections().map(
    ([section, rows]) => `## ${section}\n\n${tableOf(rows.map(([, row]) => row))}`,
  );
  return `# Options of the server

What \`lockdb serve\` takes. This page is made of the table in \`packages/server/src/options/table.ts\`, where an option is one row:
\`npm run build && node tests/page.js configuration > docs/configuration.md\`.

${HOW_TO}
${tableOf([CONFIG_OPTION])}

${tables.join("\n\n")}

${OTHERS}
`;
}

/** deploy/lockdb.toml, made of the table: every option, with its default. */
export function exampleConfig(): string {
  const parts = sections().map(([section, rows]) => {
    const options = rows.map(([, row]) => `${comment(row.doc)}\n${exampleOf(row)}`);
    return `#### ${section}\n\n${options.join("\n\n")}`;
  });
  return `# A configuration for \`lockdb serve --config lockdb.toml\`, or LOCKDB_CONFIG=lockdb.toml.
#
# Every option is here with its default, or an example. Take the # away from what you want to change. A flag
# or a variable goes before this file. Paths are meant from the folder of this file. \`lockdb config print\`
# shows what comes of it all; docs/configuration.md has the rules.

${parts.join("\n\n")}
`;
}

const HOW_TO = `A value comes from the first of these that has it:

1. the flag, such as \`--port 7000\`; a switch is turned off by \`--no-\` before its name
2. the variable, such as \`LOCKDB_PORT=7000\`; a switch is \`true\` or \`false\`
3. the configuration file, which \`--config\` or \`LOCKDB_CONFIG\` names
4. the default

A bad value stops the start with exit code 64, and the message names where it stands and what would be right. So does an unknown flag or key; an
unknown \`LOCKDB_…\` variable only warns. \`lockdb config print\` shows every option as it would be used, and where each is from.

**The file** is TOML, one \`key = value\` a line, without sections. Texts stand in quotes, numbers and \`true\` do not, what takes several values with commas is a list
such as \`["10.1.0.0/16", "192.168.7.20"]\`. Paths are meant from the folder of the file; in a flag or a variable, from where the server is started.
[deploy/lockdb.toml](../deploy/lockdb.toml) has every option, to begin from.

**Secrets** stand on no command line and in no configuration file. They come from their variable, or from a file that the variable with \`_FILE\` at its end, or the
key in the configuration file, names. Both variables at once are an error. A line end at the end of the file is no part of the secret; an empty file is an error.

**While the server runs** it takes new values of the options that are marked so, from the configuration file: when that has changed, and at SIGHUP where it has no terminal. Of others
that have changed it says in the log that they need a new start. A file with a mistake in it changes nothing, and is complained about.
`;

const OTHERS = `## Variables of the client and the command line

These may stand in a server's environment too; it does nothing with them.

| variable | what it is |
| --- | --- |
${CLIENT_VARIABLES.map(({ name, doc }) => `| \`${name}\` | ${cell(doc)} |`).join("\n")}
| \`${TOKEN_VARIABLE}\` | set by \`lockdb run\` for its command: the fencing token |
| \`NO_COLOR\` | no colours, at a terminal either; in a pipe there are none anyway |

Exit codes: [exit-codes.md](exit-codes.md).`;

function tableOf(rows: readonly OptionRow[]): string {
  const lines = rows.map((row) => `| ${cellsOf(row).join(" | ")} |`);
  return `| flag | variable | key | default | unit | what it does |\n| --- | --- | --- | --- | --- | --- |\n${lines.join("\n")}`;
}

function cellsOf(row: OptionRow): readonly string[] {
  const { flag, env, key, kind, isLive, doc } = row;
  const variables = kind === "secret" ? [env, fileVariable(env)] : [env];
  return [
    flag === null ? "none" : `\`${flag}\``,
    variables.map((name) => `\`${name}\``).join(", "),
    row === CONFIG_OPTION ? "none" : `\`${key}\``,
    defaultOf(row),
    unitOf(row),
    `${cell(doc)}${isLive ? " **Taken while the server runs.**" : ""}`,
  ];
}

function defaultOf(row: OptionRow): string {
  const { kind, default: value } = row;
  if (value === null || value === "") return "none";
  return kind === "switch" ? "off" : `\`${value}\``;
}

function unitOf({ kind, unit, choices }: OptionRow): string {
  if (choices !== null) return choices.map((word) => `\`${word}\``).join(", ");
  return unit ?? { switch: "on or off", path: "path", secret: "text", text: "text" }[kind as "text"] ?? "";
}

function exampleOf(row: OptionRow): string {
  const { key, kind, default: value, example } = row;
  if (example !== null) return `#${key} = "${example}"`;
  // Not made absolute, as what is in use is: it is for another machine.
  return kind === "path" ? `#${key} = "${value}"` : `#${tomlLine(row, value)}`;
}

/** In lines of a comment. */
function comment(text: string): string {
  return text.replace(/(.{1,98})(?: |$)/g, "# $1\n").trimEnd();
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
