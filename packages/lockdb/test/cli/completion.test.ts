import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { completionTree } from "../../src/cli/completion-tree.js";
import { programFor } from "../../src/cli/main.js";
import { inProcess } from "./cli.js";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lockdb-completion-"));
  mkdirSync(join(folder, "a folder"));
  writeFileSync(join(folder, "a file"), "");
  mkdirSync(join(folder, "bin"));
  writeFileSync(join(folder, "bin", "only-here-and-nowhere-else"), "", { mode: 0o755 });
  for (const shell of SHELLS) {
    const { code, stdout } = await inProcess(["completion", shell]);
    expect(code).toBe(0);
    writeFileSync(join(folder, shell), stdout);
  }
});

afterAll(() => rmSync(folder, { recursive: true }));

test("[I4zzq] completion knows every command and flag that there is, and no other list of them", async () => {
  const { program } = await programFor(["completion"]);
  const tree = completionTree(program);
  const paths = tree.map(({ path }) => path);
  expect(paths).toEqual(
    expect.arrayContaining(["", "serve", "run", "keys ls", "store restore", "config print"]),
  );
  expect(new Set(paths).size).toBe(paths.length);
  for (const command of program.commands)
    expect(paths.includes(command.name())).toBe(command.name() !== "exit-codes");
  const serve = tree.find(({ path }) => path === "serve")!.flags.flatMap(({ names }) => names);
  expect(serve).toEqual(expect.arrayContaining(["--config", "--port", "--signup", "--json", "--help"]));
  expect(serve).not.toContain("--no-signup");
  // In fish a flag takes a value in all commands or in none.
  const takes = new Map<string, boolean>();
  for (const { names, value } of tree.flatMap(({ flags }) => flags)) {
    for (const name of names) {
      expect([name, takes.get(name) ?? value !== null]).toEqual([name, value !== null]);
      takes.set(name, value !== null);
    }
  }
});

test("[I4zzq] completion of another shell is refused with 64, and names those there are", async () => {
  const { code, stderr } = await inProcess(["completion", "nu"]);
  expect(code).toBe(64);
  expect(stderr).toContain("bash, zsh, fish");
});

/** What is typed, and what comes of it where there is but one way on. */
const ONE_WAY: readonly (readonly [typed: string, whole: string])[] = [
  ["lockdb se", "lockdb serve"],
  ["lockdb keys rot", "lockdb keys rotate"],
  ["lockdb serve --durab", "lockdb serve --durability"],
  ["lockdb serve --durability str", "lockdb serve --durability strict"],
  ["lockdb serve --port 5 --log-level de", "lockdb serve --port 5 --log-level debug"],
  ["lockdb lock x --wait", "lockdb lock x --wait-timeout-in-ms"],
  ["lockdb -V store ins", "lockdb -V store inspect"],
  ["lockdb help comp", "lockdb help completion"],
  ["lockdb completion fi", "lockdb completion fish"],
  ["lockdb config pr", "lockdb config print"],
];

/** The words that a shell offers for the last one. */
const OFFERED: readonly (readonly [typed: string, words: readonly string[]])[] = [
  ["lockdb keys ", ["create", "ls", "narrow", "revoke", "rotate", "show"]],
  ["lockdb serve --durability ", ["standard", "strict"]],
  ["lockdb lock serve", []],
  ["lockdb lock x -w keys ", []],
];

describe.each(SHELLS)("%s", (shell) => {
  const isHere = isInstalled(shell);
  if (!isHere) console.warn(`SKIPPED: completion in ${shell} needs ${shell}, which is not installed.`);

  test.skipIf(!isHere)(`[I4zzr] completes commands, flags and values`, () => {
    const whole = completed(
      shell,
      ONE_WAY.map(([typed]) => typed),
    );
    expect(whole).toEqual(ONE_WAY.map(([, text]) => text));
  });

  test.skipIf(!isHere)(
    `[I4zzr] completes files and folders where they are wanted, whatever is in their names`,
    () => {
      const typed = [
        "lockdb store inspect a\\ fi",
        "lockdb serve --tls-cert a\\ fi",
        "lockdb serve --data-dir a\\ ",
      ];
      const [inspect, cert, data] = completed(shell, typed);
      expect([inspect, cert]).toEqual(["lockdb store inspect a\\ file", "lockdb serve --tls-cert a\\ file"]);
      expect(data).toBe("lockdb serve --data-dir a\\ folder/");
    },
  );

  test.skipIf(!isHere)(`[I4zzr] completes the command of run`, () => {
    expect(completed(shell, ["lockdb run x -- only-h"])).toEqual([
      "lockdb run x -- only-here-and-nowhere-else",
    ]);
  });
});

test.skipIf(!isInstalled("bash"))(
  "[I4zzr] bash: offers what there is, also after --flag=, and nothing where nobody knows",
  () => {
    for (const [typed, words] of OFFERED)
      expect([typed, offeredByBash(typed.split(" "))]).toEqual([typed, words]);
    expect(offeredByBash(["lockdb", "serve", "--durability", "=", "str"])).toEqual(["strict"]);
    expect(offeredByBash(["lockdb", "serve", "--durability", "="])).toEqual(["standard", "strict"]);
  },
);

test.skipIf(!isInstalled("fish"))(
  "[I4zzr] fish: offers what there is, and nothing where nobody knows",
  () => {
    for (const [typed, words] of OFFERED) {
      const offered = run("fish", [
        "--no-config",
        "-c",
        `source ${join(folder, "fish")}; complete -C '${typed}'`,
      ]);
      const lines = offered.split("\n").filter((line) => line !== "");
      expect([typed, lines.map((line) => line.split("\t")[0]).sort()]).toEqual([typed, words]);
    }
  },
);

function isInstalled(shell: Shell): boolean {
  try {
    execFileSync(shell, ["-c", "exit 0"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

function run(shell: Shell, args: readonly string[]): string {
  return execFileSync(shell, args, {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: `${join(folder, "bin")}:${process.env.PATH}`, HOME: folder, TERM: "dumb" },
  });
}

/** What stands on each line after Tab, without the space behind it. */
function completed(shell: Shell, typed: readonly string[]): readonly string[] {
  switch (shell) {
    case "bash":
      return typed.map((line) => {
        const words = wordsOf(line);
        const offered = offeredByBash(words);
        const before = words.slice(0, -1).map(escaped);
        return offered.length === 1 ? [...before, escaped(offered[0]!) + slash(offered[0]!)].join(" ") : line;
      });
    case "fish":
      return typed.map((line) => {
        const script = `source ${join(folder, "fish")}; complete --escape -C ${JSON.stringify(line)}`;
        const offered = run("fish", ["--no-config", "-c", script])
          .split("\n")
          .filter((each) => each !== "");
        const before = wordsOf(line).slice(0, -1).map(escaped);
        return offered.length === 1 ? [...before, offered[0]!.split("\t")[0]!].join(" ") : line;
      });
    case "zsh":
      return completedByZsh(typed);
  }
}

function offeredByBash(words: readonly string[]): readonly string[] {
  const quoted = words.map((word) => `'${word}'`).join(" ");
  const script = `source ${join(folder, "bash")}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}
_lockdb
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const lines = run("bash", ["--norc", "-c", script]).split("\n");
  return [...new Set(lines.filter((line) => line !== ""))].sort();
}

/** At a pseudo terminal, since zsh completes nowhere else: one key completes, another prints the line as it is then. */
function completedByZsh(typed: readonly string[]): readonly string[] {
  const script = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; autoload -U compinit; compinit -u -D; source ${join(folder, "zsh")}'
zpty -w z 'tell() { print -r -- "<<$BUFFER>>"; BUFFER= }; zle -N tell; bindkey "^G" tell; print READY$((1+1))'
zpty -r -m z got '*READY2*'
for line in "$@"; do
  zpty -w -n z "$line"$'\\t\\a'
  zpty -r -m z got '*<<*>>*'
  print -r -- "\${\${got##*<<}%%>>*}"
done
zpty -d z`;
  return run("zsh", ["-f", "-c", script, "zsh", ...typed])
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/[ =]$/, ""));
}

/** As a shell splits it. */
function wordsOf(line: string): readonly string[] {
  return line.split(/(?<!\\) /).map((word) => word.replaceAll("\\ ", " "));
}

function escaped(word: string): string {
  return word.replaceAll(" ", "\\ ");
}

/** bash puts it behind a folder by itself. */
function slash(word: string): string {
  return word === "a folder" ? "/" : "";
}
