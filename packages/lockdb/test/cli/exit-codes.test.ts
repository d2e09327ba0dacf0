import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { painter } from "../../src/cli/colour.js";
import { EXIT, EXIT_ROWS, exitCodesPage, exitHelp } from "../../src/cli/exit-codes.js";
import { inProcess } from "./cli.js";

test("[I4zzs] exit codes are told from one table: help topic, JSON, the help of commands, and a page", async () => {
  const { code, stdout } = await inProcess(["help", "exit-codes"]);
  expect(code).toBe(0);
  const json = await inProcess(["exit-codes", "--json"]);
  const rows = json.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(rows.map(({ name, code: each }) => [name, each])).toEqual(Object.entries(EXIT));
  for (const { code: each, says } of Object.values(EXIT_ROWS)) {
    expect(stdout).toMatch(new RegExp(`^ {2}${each} +\\S`, "m"));
    if (says !== null) expect((await inProcess(["--help"])).stdout).toContain(`  ${each}`.padEnd(6) + says);
  }
  for (const [command, of] of [
    ["run", "run"],
    ["serve", "serve"],
    ["store inspect", "inspect"],
  ] as const)
    expect((await inProcess([...command.split(" "), "--help"])).stdout).toContain(exitHelp(of));
});

test("[I4zzs] docs/exit-codes.md is of this table", () => {
  const page = readFileSync(
    fileURLToPath(new URL("../../../../docs/exit-codes.md", import.meta.url)),
    "utf8",
  );
  expect(page, "node tests/page.js exit-codes > docs/exit-codes.md").toBe(exitCodesPage());
});

test("[I4zzt] colours are for terminals that know some, and not where NO_COLOR is set", () => {
  const red = "\u001b[31mno\u001b[39m";
  expect(painter({ isTTY: true }, {})("red", "no")).toBe(red);
  expect(painter({ isTTY: true }, { NO_COLOR: "" })("red", "no")).toBe(red);
  expect(painter({ isTTY: true }, { NO_COLOR: "1" })("red", "no")).toBe("no");
  expect(painter({ isTTY: true }, { TERM: "dumb" })("red", "no")).toBe("no");
  expect(painter({ isTTY: false }, {})("red", "no")).toBe("no");
  expect(painter({}, {})("red", "no")).toBe("no");
});

test("[I4zzt] an error is red at a terminal, its text as it is; never in JSON", async () => {
  const { isTTY } = process.stderr;
  const { NO_COLOR, TERM } = process.env;
  try {
    process.stderr.isTTY = true;
    process.env.TERM = "xterm";
    delete process.env.NO_COLOR;
    const wrong = ["check", "a\u0007b"];
    const said = await inProcess([...wrong], { LOCKDB_SERVICE_ID: "x" });
    expect(said.stderr).toMatch(/^\u001b\[31mlockdb check:\u001b\[39m [^\u001b\u0007]+\n$/);
    expect((await inProcess([...wrong, "--json"], { LOCKDB_SERVICE_ID: "x" })).stderr).not.toContain(
      "\u001b",
    );
    process.env.NO_COLOR = "1";
    expect((await inProcess([...wrong], { LOCKDB_SERVICE_ID: "x" })).stderr).toMatch(
      /^lockdb check: [^\u001b]+$/,
    );
  } finally {
    process.stderr.isTTY = isTTY;
    for (const [name, value] of Object.entries({ NO_COLOR, TERM })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
});
