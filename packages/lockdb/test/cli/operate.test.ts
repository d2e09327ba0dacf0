import type { Lease } from "lockdb";
import { expect, test } from "vitest";
import { inProcess, servedCli } from "./cli.js";

const on = servedCli();

test("[I4y] show tells who has a lock, with which token, and who waits", async () => {
  expect((await inProcess(["show", "idle"], on.env)).stdout).toBe("idle: free\n");
  const lease = await on.holder.acquire("shown", { metadata: { job: "nightly\u001b[2J" } });
  const waiting = on.holder.acquire("shown");
  while ((await on.holder.inspect("shown")).queueLength === 0);
  const { code, stdout } = await inProcess(["show", "shown"], on.env);
  expect(code).toBe(0);
  const [first, ...rest] = stdout.split("\n");
  expect(first).toMatch(/^shown: host db3 has held it for \d+ (ms|s) \(token \d+\)\.$/);
  expect(first).toContain(`token ${lease.token}`);
  expect(rest[0]).toBe(`  metadata: {"job":"nightly\\u001b[2J"}`);
  expect(rest[1]).toBe("  1 waiting:");
  expect(rest[2]).toMatch(/^ {4}host db3 for \d+ (ms|s) \(ticket \d+\)$/);
  const json = JSON.parse((await inProcess(["show", "shown", "--json"], on.env)).stdout);
  expect(json).toMatchObject({ name: "shown", held: true, queueLength: 1, holders: [{ owner: "host db3" }] });
  await lease.release();
  await (await waiting).release();
});

test("[L9o] force-release frees the hold that was seen, and no other; the next holder and show tell of it", async () => {
  const lease = await on.holder.acquire("stuck");
  const { signal } = lease;
  const lost = new Promise((resolve) => signal.addEventListener("abort", resolve));
  const force = (token: number, ...more: string[]) =>
    inProcess(["force-release", "stuck", "--token", String(token), "--reason", "it hangs", ...more], on.env);
  const wrong = await force(lease.token + 1);
  expect(wrong).toMatchObject({ code: 1, stdout: "" });
  expect(wrong.stderr).toMatch(/NOT_HELD.*no hold with this token.*host db3 has held it/);
  expect(signal.aborted).toBe(false);
  expect(await force(lease.token)).toEqual({ code: 0, stdout: "true\n", stderr: "" });
  await lost;
  expect(signal.reason).toMatchObject({
    code: "LOCK_LOST",
    message: expect.stringContaining("freed by force"),
  });
  expect(await lease.release()).toBe(false);
  expect((await inProcess(["show", "stuck"], on.env)).stdout).toContain(
    `The hold of host db3 before (token ${lease.token}) was taken from it by force`,
  );
  const next: Lease = await on.holder.acquire("stuck");
  expect(next.previous).toEqual({ endedBy: "force", token: lease.token, owner: "host db3" });
  const json = await force(next.token, "--json");
  expect(JSON.parse(json.stdout)).toEqual({ released: true, name: "stuck", token: next.token });
});

test.each([
  [["show"], /missing required argument/],
  [["show", "a,b"], /takes one lock name/],
  [["force-release", "a", "--reason", "x"], /--token/],
  [["force-release", "a", "--token", "1"], /--reason/],
  [["force-release", "a", "--token", "0", "--reason", "x"], /whole number from 1/],
  [["force-release", "a", "--token", "1e3", "--reason", "x"], /whole number from 1/],
  [["force-release", "a", "--token", "1", "--reason", ""], /must not be empty/],
  [["force-release", "a", "--token", "1", "--reason", "x".repeat(257)], /at most 256 bytes/],
  [["force-release", "a,b", "--token", "1", "--reason", "x"], /takes one lock name/],
])("[I4z] wrong use exits 64 and says what would be right: %j", async (args, message) => {
  const { code, stderr } = await inProcess(args, on.env);
  expect(code).toBe(64);
  expect(stderr).toMatch(message);
});
