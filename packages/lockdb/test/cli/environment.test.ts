import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OPTIONS } from "@lockdb/server";
import type { Command } from "commander";
import { afterAll, beforeAll, expect, test } from "vitest";
import { programFor } from "../../src/cli/main.js";
import { CLIENT_VARIABLES } from "../../src/protocol/index.js";
import { inProcess, servedCli } from "./cli.js";

const on = servedCli();
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lockdb-environment-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

function keyFile(text: string): string {
  const path = join(folder, "key");
  writeFileSync(path, text);
  return path;
}

test("[I4zzu] the API key may be in a file, over both protocols; a flag goes before it", async () => {
  const { LOCKDB_API_KEY: key = "", ...env } = on.env;
  const given = { ...env, LOCKDB_API_KEY: "", LOCKDB_API_KEY_FILE: keyFile(`${key}\r\n`) };
  expect(await inProcess(["check", "teapot"], given)).toMatchObject({ code: 0, stdout: "false\n" });
  expect(await inProcess(["whoami"], given)).toMatchObject({ code: 0, stderr: "" });
  const byFlag = { ...given, LOCKDB_API_KEY_FILE: join(folder, "absent") };
  expect(await inProcess(["check", "teapot", "-a", key], byFlag)).toMatchObject({
    code: 0,
    stdout: "false\n",
  });
});

test("[I4zzu] a file of the key that cannot be read or is empty, or both variables at once: 64, and which", async () => {
  const { LOCKDB_API_KEY: key = "", ...env } = on.env;
  const absent = join(folder, "absent");
  for (const [variables, says] of [
    [{ LOCKDB_API_KEY_FILE: absent }, `LOCKDB_API_KEY_FILE: the file ${absent} cannot be read: ENOENT`],
    [{ LOCKDB_API_KEY_FILE: keyFile(" \n") }, `LOCKDB_API_KEY_FILE: the file ${folder}/key is empty.`],
    [
      { LOCKDB_API_KEY_FILE: absent, LOCKDB_API_KEY: key },
      "LOCKDB_API_KEY and LOCKDB_API_KEY_FILE are both set.",
    ],
  ] as const) {
    for (const command of [["check", "teapot"], ["whoami"]]) {
      const { code, stdout, stderr } = await inProcess(command, { ...env, ...variables });
      expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
      expect(stderr).toContain(says);
      expect(stderr).not.toContain(key);
    }
  }
});

test("[I4zzv] help names the variable of every flag that has one, and all of them", async () => {
  const { program } = await programFor(["serve"]);
  const all = commandsIn(program);
  expect(all.length).toBeGreaterThan(25);
  const named = new Set<string>();
  for (const command of all) {
    const help = command.helpInformation().replace(/\s+/g, " ");
    for (const { envVar, long } of command.options) {
      if (envVar === undefined) continue;
      expect(help).toMatch(new RegExp(`${long} <[a-z]+> [^<]*env: [A-Z_, ]*${envVar}\\b`));
      named.add(envVar);
    }
    if (command.options.some(({ long }) => long === "--api-key"))
      expect(help).toMatch(/--api-key <key> [^<]*env: LOCKDB_API_KEY, LOCKDB_API_KEY_FILE\)/);
  }
  expect([...named].sort()).toEqual(["LOCKDB_SERVER_URL", "LOCKDB_SERVICE_ID"]);
  const { stdout } = await inProcess(["--help"]);
  for (const { name } of CLIENT_VARIABLES) expect(stdout).toMatch(new RegExp(`^ {2}${name} `, "m"));
  const serve = (await inProcess(["serve", "--help"])).stdout.replace(/\s+/g, " ");
  for (const { flag, env } of Object.values(OPTIONS))
    expect(serve).toMatch(
      new RegExp(flag === null ? `${env}, or ${env}_FILE for a file` : `${flag} [^<]*env: ${env}\\)`),
    );
  expect(serve).toContain("env: LOCKDB_CONFIG)");
});

test("[I4zzw] every command that prints data does so as JSON on request", async () => {
  const { program } = await programFor(["serve"]);
  const leaves = commandsIn(program).filter(({ commands }) => commands.length === 0);
  const without = leaves.filter(({ options }) => !options.some(({ long }) => long === "--json"));
  expect(without.map((command) => command.name())).toEqual(["completion"]);
});

function commandsIn(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(commandsIn)];
}
