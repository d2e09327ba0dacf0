import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "@lockdb/server";
import { afterAll, expect, test } from "vitest";
import { hasEtcd, startEtcd } from "../../../server/test/etcd.js";
import { inProcess, servedCli } from "./cli.js";

const on = servedCli();
const root = mkdtempSync(join(tmpdir(), "lockdb-cli-store-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const path = (name: string) => join(root, name);

test("[I4zzj] store backup writes a file for its owner alone, once it is whole, in place of an older one", async () => {
  await inProcess(["lock", "kept"], on.env);
  const file = path("one.backup");
  writeFileSync(file, "an older one", { mode: 0o644 });
  const { code, stdout, stderr } = await inProcess(["store", "backup", file], on.env);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^\d+ records as of 20\S+Z are in .*one\.backup\. It holds secrets: keep it/);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(root)).toEqual(["one.backup"]);
  const json = await inProcess(["store", "backup", file, "--json"], on.env);
  expect(JSON.parse(json.stdout)).toMatchObject({ file, records: expect.any(Number) });
});

test("[I4zzk] what comes of a backup that is refused, cut off or cannot be written is said, and the older one stays", async () => {
  const file = path("two.backup");
  writeFileSync(file, "an older one");
  const narrow = await inProcess(["keys", "create", "--scopes", "lock"], on.env);
  const refused = await inProcess(["store", "backup", file], {
    ...on.env,
    LOCKDB_API_KEY: narrow.stdout.trim(),
  });
  expect(refused).toMatchObject({ code: 77, stderr: expect.stringMatching(/FORBIDDEN/) });
  const nowhere = await inProcess(["store", "backup", path("no/where.backup")], on.env);
  expect(nowhere).toMatchObject({ code: 1, stderr: expect.stringMatching(/^lockdb store backup: ENOENT/) });
  // In front of the server, so that the end is missing: once with the connection, once in good order.
  for (const [isBroken, code, text] of [
    [true, 69, /did not answer \(its answer broke off\)/],
    [false, 1, /is cut off at its record/],
  ] as const) {
    const front = createServer(async (request, response) => {
      const url = on.env.LOCKDB_SERVER_URL + request.url!;
      const answer = await fetch(url, { headers: { authorization: request.headers.authorization! } });
      const bytes = Buffer.from(await answer.arrayBuffer());
      response.write(bytes.subarray(0, -30), () => (isBroken ? response.destroy() : response.end()));
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => front.once("listening", resolve));
    const LOCKDB_SERVER_URL = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
    const cut = await inProcess(["store", "backup", file], { ...on.env, LOCKDB_SERVER_URL });
    front.close();
    expect(cut).toMatchObject({ code, stdout: "", stderr: expect.stringMatching(text) });
  }
  expect(readFileSync(file, "utf8")).toBe("an older one");
  expect(readdirSync(root).filter((name) => name.endsWith(".partial"))).toEqual([]);
});

test("[I4zzl] store restore, inspect and copy: from a backup to a server that moves, and what each says", async () => {
  const file = path("three.backup");
  await inProcess(["store", "backup", file], on.env);
  const folder = path("restored");
  const restored = await inProcess(["store", "restore", file, "--data-dir", folder]);
  expect(restored).toMatchObject({ code: 0, stderr: "" });
  expect(restored.stdout).toMatch(/tokens +begin at \d{14} in all services\n +sessions +\d+ are void/);
  expect(restored.stdout).toMatch(/the old server must never run again/);
  const again = await inProcess(["store", "restore", file, "--data-dir", folder, "--json"]);
  expect(again.code).toBe(1);
  expect(JSON.parse(again.stderr).error.message).toMatch(/is not empty/);
  const other = ["--data-dir", path("other"), "--drop-holds", "--tokens-above", "1000000000000000", "--json"];
  const told = JSON.parse((await inProcess(["store", "restore", file, ...other])).stdout);
  expect(told.tokensFrom).toBeGreaterThan(10 ** 15);
  expect(told.leftOut.holds).toBeGreaterThan(0);

  const server = await serve({ port: 0, dataDir: folder, logLevel: "silent" });
  const busy = await inProcess(["store", "inspect", folder]);
  expect(busy).toMatchObject({ code: 1, stdout: "" });
  expect(busy.stderr).toMatch(/in use by process \d+\. Stop that server first\. .*`lockdb store backup`/);
  await server.close();
  const shown = await inProcess(["store", "inspect", folder]);
  expect(shown).toMatchObject({ code: 0, stderr: "" });
  expect(shown.stdout).toMatch(/the last server stopped in order/);
  expect(shown.stdout).toMatch(/default\/reports: 0 sessions, 1 holds, all tokens below \d{14}\n/);
  const json = JSON.parse((await inProcess(["store", "inspect", file, "--json"])).stdout);
  expect(json).toMatchObject({ kind: "backup", damageCount: 0 });

  const moved = await inProcess(["store", "copy", folder, path("moved")]);
  expect(moved.stdout).toMatch(/^Moved \d+ records to .*moved\. .*restored starts no more/);
  await expect(serve({ port: 0, dataDir: folder, logLevel: "silent" })).rejects.toThrow(/was moved to/);
  const etcd = await inProcess(["store", "copy", path("moved"), "etcd://"]);
  expect(etcd).toMatchObject({ code: 1, stderr: expect.stringMatching(/must be such as etcd:/) });
});

test.skipIf(!hasEtcd)(
  "[I4wb] store copy, inspect and restore speak with an etcd, and say what they did",
  async () => {
    const etcd = await startEtcd();
    try {
      const file = path("five.backup");
      await inProcess(["store", "backup", file], on.env);
      const restored = await inProcess(["store", "restore", file, `${etcd.url}/one`]);
      expect(restored).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/^Restored etcd:.*\/one from a backup/),
      });
      const again = await inProcess(["store", "restore", file, `${etcd.url}/one`]);
      expect(again).toMatchObject({ code: 1, stderr: expect.stringMatching(/"one" is not empty/) });
      const shown = await inProcess(["store", "inspect", `${etcd.url}/one`]);
      expect(shown).toMatchObject({ code: 0, stderr: "" });
      expect(shown.stdout).toMatch(/^cluster etcd:.*\/one\n +members +0\n +records +\d+/);
      const moved = await inProcess(["store", "copy", `${etcd.url}/one`, path("from-etcd")]);
      expect(moved.stdout).toMatch(/^Moved \d+ records to .*from-etcd\. etcd:.*\/one starts no more/);
      const nothing = await inProcess(["store", "inspect", `${etcd.url}/two`]);
      expect(nothing).toMatchObject({ code: 1, stderr: expect.stringMatching(/There is no cluster at/) });
      const both = await inProcess(["store", "restore", file, `${etcd.url}/two`, "--data-dir", path("x")]);
      expect(both).toMatchObject({ code: 64 });
    } finally {
      await etcd.stop();
    }
  },
  60_000,
);

test("[I4zzm] damage is named, and exits 1; wrong use exits 64", async () => {
  const file = path("four.backup");
  await inProcess(["store", "backup", file], on.env);
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 4;
  writeFileSync(file, bytes);
  const shown = await inProcess(["store", "inspect", file]);
  expect(shown).toMatchObject({ code: 1, stderr: "" });
  expect(shown.stdout).toMatch(/damage +1 found\n +"\S+four\.backup" is damaged at its record \d+/);
  expect(await inProcess(["store", "restore", file, "--data-dir", path("never")])).toMatchObject({ code: 1 });
  for (const args of [
    ["restore", file],
    ["inspect"],
    ["copy", file],
    ["restore", file, "--tokens-above", "x"],
    [],
  ])
    expect(await inProcess(["store", ...args]), args.join(" ")).toMatchObject({ code: 64 });
});
