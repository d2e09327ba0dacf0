import { spawn } from "node:child_process";
import { once } from "node:events";
import LockDB from "lockdb";
import { describe, expect, test } from "vitest";
import { BIN, cli, envOf, inProcess, servedCli } from "./cli.js";

const on = servedCli();
const KEY_LINE = /^ldb_([0-9A-Za-z]{10})_[0-9A-Za-z]{38}\n$/;

/** What a command needs but a service: none of these asks for one. */
function env(apiKey = on.env.LOCKDB_API_KEY!) {
  return { LOCKDB_SERVER_URL: on.env.LOCKDB_SERVER_URL!, LOCKDB_API_KEY: apiKey };
}

async function makeKey(...flags: string[]): Promise<{ readonly key: string; readonly id: string }> {
  const { code, stdout, stderr } = await inProcess(["keys", "create", ...flags], env());
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return { key: stdout.trimEnd(), id: KEY_LINE.exec(stdout)![1]! };
}

async function json(args: readonly string[], apiKey?: string) {
  const { code, stdout, stderr } = await inProcess([...args, "--json"], env(apiKey));
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout);
}

test("[I4zc] keys create prints the key and nothing else, so that a variable can take it; a note goes elsewhere", async () => {
  const made = await cli(["keys", "create", "--scopes", "lock", "--services", "reports"], env());
  expect(made.code).toBe(0);
  const id = KEY_LINE.exec(made.stdout)![1]!;
  expect(made.stderr).toBe(
    `lockdb keys create: this key is shown this once, so keep it now; its id is ${id}\n`,
  );
  const key = made.stdout.trimEnd();
  const reports = { ...env(key), LOCKDB_SERVICE_ID: "reports" };
  expect(await inProcess(["lock", "by key"], reports)).toMatchObject({ code: 0, stdout: "true\n" });
  const others = await inProcess(["lock", "x"], { ...reports, LOCKDB_SERVICE_ID: "others" });
  expect(others).toMatchObject({ code: 77, stderr: expect.stringContaining("FORBIDDEN") });
});

test("[I4zd] a key is what its flags say, and show, ls and whoami tell it", async () => {
  const { id, key } = await makeKey("--scopes", "read,lock", "--name", "the report", "--expires", "30d");
  const shown = await json(["keys", "show", id]);
  expect(shown).toMatchObject({ id, name: "the report", scopes: ["read", "lock"], services: null });
  const leftMs = Date.parse(shown.expiresAt) - Date.now();
  expect(leftMs).toBeGreaterThan(30 * 86_400_000 - 60_000);
  expect(leftMs).toBeLessThanOrEqual(30 * 86_400_000);
  const text = (await inProcess(["keys", "show", id], env())).stdout;
  expect(text).toMatch(
    new RegExp(`^key ${id} "the report" of account default\n {2}scopes +read, lock\n {2}services +all\n`),
  );
  expect(text).toContain(`  ends       ${shown.expiresAt}\n`);
  const rows = (await inProcess(["keys", "ls"], env())).stdout.trimEnd().split("\n");
  expect(rows[0]).toBe("ID\tNAME\tSCOPES\tSERVICES\tENDS\tLAST USED");
  expect(rows[1]).toMatch(/^root\troot key\tlock,read,force,admin\tall\tnever\t/);
  expect(rows.at(-1)).toBe(`${id}\tthe report\tread,lock\tall\t${shown.expiresAt}\tnever`);
  const self = await json(["whoami"], key);
  expect(self).toMatchObject({ key: { id }, account: { id: "default", daysLeft: null } });
  expect((await inProcess(["whoami"], env(key))).stdout).toMatch(
    new RegExp(`^key ${id} "the report"[^]*\naccount default\n {2}trial +none\n {2}holds +\\d+, no limit\n`),
  );
  const until = await makeKey("--scopes", "lock", "--expires", "2037-02-28");
  expect(await json(["keys", "show", until.id])).toMatchObject({ expiresAt: "2037-02-28T00:00:00.000Z" });
});

test("[I4ze] narrow takes away and never gives; what is named by nothing stays", async () => {
  const { id } = await makeKey("--scopes", "lock,read", "--services", "a,b");
  const narrowed = await json(["keys", "narrow", id, "--services", "b", "--name", "less"]);
  expect(narrowed).toMatchObject({ id, name: "less", scopes: ["lock", "read"], services: ["b"] });
  const wider = await inProcess(["keys", "narrow", id, "--scopes", "lock,admin"], env());
  expect(wider).toMatchObject({ code: 64, stdout: "", stderr: expect.stringMatching(/INVALID: .*new one/) });
  expect(await json(["keys", "narrow", id, "--scopes", "read", "--expires", "1h"])).toMatchObject({
    scopes: ["read"],
    expiresAt: expect.any(String),
  });
});

test("[I4zf] rotate prints the new key alone; the old one works for as long as --keep-old says", async () => {
  const { id, key } = await makeKey("--scopes", "read");
  const works = async (each: string) => (await inProcess(["whoami"], env(each))).code;
  const second = await inProcess(["keys", "rotate", id, "--keep-old", "1h"], env());
  expect(second).toMatchObject({ code: 0, stdout: expect.stringMatching(KEY_LINE) });
  expect(second.stderr).toContain(`shown this once, so keep it now; its id is ${id}`);
  const newer = second.stdout.trimEnd();
  expect([await works(key), await works(newer)]).toEqual([0, 0]);
  expect((await inProcess(["keys", "show", id], env())).stdout).toMatch(/old secret +works until 20/);
  const third = await json(["keys", "rotate", id, "--keep-old", "0s"]);
  expect(third).toMatchObject({
    key: { id, oldSecretEndsAt: null },
    apiKey: expect.stringMatching(/^ldb_/),
  });
  expect([await works(key), await works(newer), await works(third.apiKey)]).toEqual([77, 77, 0]);
});

test("[I4zg] revoke ends a key at once, by its id or by the key itself that was found somewhere", async () => {
  const first = await makeKey("--scopes", "read");
  const second = await makeKey("--scopes", "read");
  expect((await inProcess(["keys", "revoke", first.id], env())).stdout).toMatch(
    new RegExp(`^revoked: key ${first.id} `),
  );
  expect(await json(["keys", "revoke", second.key])).toMatchObject({ id: second.id });
  for (const { id, key } of [first, second]) {
    expect(await inProcess(["whoami"], env(key))).toMatchObject({ code: 77 });
    const gone = await inProcess(["keys", "show", id], env());
    expect(gone).toMatchObject({ code: 1, stderr: expect.stringMatching(/^lockdb keys show: NOT_FOUND: /) });
  }
});

test("[I4zh] a key that may not is refused with 77, also as JSON", async () => {
  const { key } = await makeKey("--scopes", "lock,read");
  for (const args of [
    ["keys", "ls"],
    ["keys", "create", "--scopes", "lock"],
    ["accounts", "ls"],
    ["audit"],
  ]) {
    const text = await inProcess(args, env(key));
    expect(text).toMatchObject({ code: 77, stdout: "", stderr: expect.stringContaining("FORBIDDEN: ") });
    const { code, stderr } = await inProcess([...args, "--json"], env(key));
    expect({ code, ...JSON.parse(stderr) }).toMatchObject({ code: 77, error: { code: "FORBIDDEN" } });
  }
  const { key: admin } = await makeKey("--scopes", "admin");
  const more = await inProcess(["keys", "create", "--scopes", "lock"], env(admin));
  expect(more).toMatchObject({ code: 77, stderr: expect.stringContaining("only what it has") });
});

test("[I4zi] a new key that nobody could read is no success: it exits 1 and says what to revoke", async () => {
  const child = spawn(process.execPath, [BIN, "keys", "create", "--scopes", "read"], {
    env: envOf(env()),
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += text));
  const [code] = await once(child, "close");
  expect(code).toBe(1);
  expect(stderr).toMatch(/could not be written .*Revoke it: lockdb keys revoke [0-9A-Za-z]{10}\n$/);
});

test("[I4zj] --account reaches another account's keys", async () => {
  const { account } = await json(["accounts", "create"]);
  const made = await json(["keys", "create", "--scopes", "lock", "--account", account.id]);
  expect(made.key.account).toBe(account.id);
  const { keys } = { keys: (await inProcess(["keys", "ls", "--account", account.id], env())).stdout };
  expect(keys).toContain(`\n${made.key.id}\t`);
  expect(await inProcess(["keys", "show", made.key.id], env())).toMatchObject({ code: 1 });
  const revoked = await json(["keys", "revoke", made.key.id, "--account", account.id]);
  expect(revoked.id).toBe(made.key.id);
  const locker = new LockDB("reports", { serverUrl: on.env.LOCKDB_SERVER_URL!, apiKey: made.apiKey });
  await expect(locker.check("x")).rejects.toThrow("Unauthorized");
  await locker.close();
});

test.each([
  [["keys"], /which command/],
  [["keys", "lss"], /Did you mean ls/],
  [["keys", "--json", "ls"], /after the command/],
  [["keys", "ls", "x"], /too many arguments/],
  [["keys", "create"], /--scopes/],
  [["keys", "create", "--scopes", "lock,all"], /lock, read, force, admin/],
  [["keys", "create", "--scopes", ""], /lock, read, force, admin/],
  [["keys", "create", "--scopes", "lock", "--services", "a,,b"], /service id/],
  [["keys", "create", "--scopes", "lock", "--name", ""], /not empty/],
  [["keys", "create", "--scopes", "lock", "--expires", "soon"], /2027-01-31/],
  [["keys", "create", "--scopes", "lock", "--expires", "2037-02-30"], /no such time/],
  [["keys", "create", "--scopes", "lock", "--expires", "2037-01-01T00:00"], /12:00:00Z/],
  [["keys", "create", "--scopes", "lock", "--expires", "2020-01-01"], /is past/],
  [["keys", "create", "--scopes", "lock", "--account", "acme"], /acc_/],
  [["keys", "show"], /missing required argument/],
  [["keys", "show", "../accounts"], /letters and digits/],
  [["keys", "narrow", "abc"], /what changes/],
  [["keys", "rotate", "abc", "--keep-old", "5"], /unit/],
  [["whoami", "me"], /too many arguments/],
])("[I4zk] wrong use exits 64 and says what would be right: %j", async (args, message) => {
  const { code, stdout, stderr } = await inProcess(args, env());
  expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
  expect(stderr).toMatch(message);
});

describe("[I4zl] each of these commands has help with an example, and asks for no service", () => {
  test.each([
    ["whoami"],
    ["keys"],
    ["keys ls"],
    ["keys create"],
    ["keys show"],
    ["keys narrow"],
    ["keys rotate"],
    ["keys revoke"],
    ["accounts"],
    ["accounts ls"],
    ["accounts create"],
    ["accounts show"],
    ["accounts extend"],
    ["accounts convert"],
    ["accounts limit"],
    ["audit"],
  ])("%s", async (command) => {
    const words = command.split(" ");
    const { code, stdout, stderr } = await inProcess([...words, "--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(new RegExp(`Examples?:\n(.*\n)*  .*lockdb ${words[0]}`));
    expect(stdout).not.toContain("SERVICE_ID");
    if (words.length > 1 || !["keys", "accounts"].includes(command))
      for (const name of ["LOCKDB_API_KEY", "LOCKDB_SERVER_URL"]) expect(stdout).toContain(name);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(81);
    expect((await inProcess(["help", ...words])).stdout).toBe(stdout);
  });
});
