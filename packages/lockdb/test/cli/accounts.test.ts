import { expect, test } from "vitest";
import { cli, inProcess, servedCli } from "./cli.js";

const on = servedCli();
const DAY_MS = 86_400_000;

function env(apiKey = on.env.LOCKDB_API_KEY!) {
  return { LOCKDB_SERVER_URL: on.env.LOCKDB_SERVER_URL!, LOCKDB_API_KEY: apiKey };
}

async function json(args: readonly string[], apiKey?: string) {
  const { code, stdout, stderr } = await inProcess([...args, "--json"], env(apiKey));
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout);
}

test("[I4zm] accounts create prints the first key alone, and tells the account on standard error", async () => {
  const made = await cli(["accounts", "create", "--email", "team@example.com"], env());
  expect(made).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^ldb_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}\n$/),
  });
  const id = /acc_[0-9A-Za-z]+/.exec(made.stderr)![0];
  const { key, account } = await json(["whoami"], made.stdout.trimEnd());
  expect(key).toMatchObject({ account: id, scopes: ["lock", "read", "force", "admin"] });
  expect(account).toMatchObject({ id, email: "team@example.com", trialEndsAt: null, daysLeft: null });
  expect((await inProcess(["accounts", "show"], env(made.stdout.trimEnd()))).stdout).toContain(
    `account ${id} (team@example.com)\n`,
  );
});

test("[I4zn] whoami tells the days that are left of a trial, its limits and use, and when it has ended", async () => {
  const { account, apiKey } = await json(["accounts", "create", "--trial", "--email", "dev@example.com"]);
  expect(account.daysLeft).toBe(30);
  const reports = { ...env(apiKey), LOCKDB_SERVICE_ID: "reports" };
  expect(await inProcess(["lock", "held"], reports)).toMatchObject({ code: 0 });
  const before = (await inProcess(["whoami"], env(apiKey))).stdout;
  expect(before).toMatch(/\n {2}trial +30 days left, ends 20\S+Z\n/);
  expect(before).toMatch(/\n {2}holds +1 of 1000\n/);
  expect(before).toMatch(/\n {2}requests per second +at most 50\n/);

  const ended = await inProcess(["accounts", "extend", account.id, "--until", "0s"], env());
  expect(ended.stdout).toContain(`the trial of ${account.id}: ended 20`);
  expect(ended.stdout).toContain(`(before: ${account.trialEndsAt})`);
  const after = (await inProcess(["whoami"], env(apiKey))).stdout;
  expect(after).toMatch(/\n {2}trial +ended 20\S+Z; new locks are refused until the operator extends it\n/);
  const refused = await inProcess(["lock", "new"], reports);
  expect(refused).toMatchObject({ code: 77, stderr: expect.stringMatching(/^lockdb lock: TRIAL_ENDED: /) });
  expect(await inProcess(["unlock", "held"], reports)).toMatchObject({ code: 0, stdout: "true\n" });

  const extended = await json(["accounts", "extend", account.id, "--until", "60d"]);
  expect(extended.daysLeft).toBe(60);
  expect(Date.parse(extended.trialEndsAt)).toBeGreaterThan(Date.now() + 59 * DAY_MS);
  expect(await inProcess(["lock", "new"], reports)).toMatchObject({ code: 0 });
});

test("[I4zo] convert keeps an account without an end, and only a trial can be extended", async () => {
  const { account } = await json(["accounts", "create", "--trial"]);
  expect(await json(["accounts", "convert", account.id])).toMatchObject({
    id: account.id,
    trialEndsAt: null,
    limits: { holds: null },
  });
  const again = await inProcess(["accounts", "extend", account.id, "--until", "3d"], env());
  expect(again).toMatchObject({ code: 64, stderr: expect.stringContaining("is no trial") });
  expect((await json(["accounts", "show", account.id])).trialEndsAt).toBe(null);
});

test("[I4zp] limit sets what is named, usual gives it back, and the rest stays", async () => {
  const { account } = await json(["accounts", "create", "--trial"]);
  const flags = ["--requests-per-second", "200", "--holds", "0"];
  const limited = await json(["accounts", "limit", account.id, ...flags]);
  expect(limited.limits).toMatchObject({ requestsPerSecond: 200, holds: 0, sessions: 100 });
  const back = await json(["accounts", "limit", account.id, "--holds", "usual", "--acts=7"]);
  expect(back.limits).toEqual({ ...account.limits, requestsPerSecond: 200, acts: 7 });
  const all = Object.keys(account.limits).map(
    (name) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}=5`,
  );
  const fives = await json(["accounts", "limit", account.id, ...all]);
  expect(new Set(Object.values(fives.limits))).toEqual(new Set([5]));
});

test("[I4zq] accounts ls lists all to the operator, and to others their own", async () => {
  const { account, apiKey } = await json(["accounts", "create", "--trial", "--email", "ls@example.com"]);
  const rows = (await inProcess(["accounts", "ls"], env())).stdout.trimEnd().split("\n");
  expect(rows[0]).toBe("ID\tEMAIL\tTRIAL\tHOLDS\tSESSIONS\tSERVICES");
  expect(rows).toContain(`${account.id}\tls@example.com\t30 days left\t0\t0\t0`);
  expect(rows.at(-1)).toMatch(/^default\t\tnone\t/);
  const own = await inProcess(["accounts", "ls", "--json"], env(apiKey));
  expect(own.stdout.trimEnd().split("\n")).toHaveLength(1);
  expect(JSON.parse(own.stdout)).toMatchObject({ id: account.id, limits: { sessions: 100 } });
  const foreign = await inProcess(["accounts", "show", "default"], env(apiKey));
  expect(foreign).toMatchObject({ code: 1, stderr: expect.stringContaining("NOT_FOUND") });
  const forbidden = await inProcess(["accounts", "limit", account.id, "--holds", "5"], env(apiKey));
  expect(forbidden).toMatchObject({ code: 77, stderr: expect.stringContaining("FORBIDDEN") });
});

test.each([
  [["accounts"], /which command/],
  [["accounts", "show", "acme"], /acc_/],
  [["accounts", "extend", "acc_1"], /--until/],
  [["accounts", "extend", "acc_1", "--until", "2027-13-01"], /no such time/],
  [["accounts", "limit", "acc_1"], /which limit/],
  [["accounts", "limit", "acc_1", "--holds", "many"], /usual/],
  [["accounts", "limit", "acc_1", "--holds", "-1"], /usual/],
  [["accounts", "create", "--email", "nobody"], /INVALID/],
  [["audit", "--since", "yesterday"], /2027-01-31/],
])("[I4zr] wrong use exits 64 and says what would be right: %j", async (args, message) => {
  const { code, stdout, stderr } = await inProcess(args, env());
  expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
  expect(stderr).toMatch(message);
});
