import { afterAll, expect, test } from "vitest";
import { HttpWait } from "./http-wait.js";
import { memoryMib, Processes, ROOT_KEY } from "./processes.js";

/** `LOCKDB_WRONG_KEYS_S=60` is the whole promise. How much slower others are meanwhile, the benchmark `wrong-keys` says. */
const SPAN_MS = Number(process.env.LOCKDB_WRONG_KEYS_S ?? 6) * 1_000;
const PER_SECOND = 1_700;
/** Wrong keys a minute from one address that are told so (A1). */
const TOLD_A_MINUTE = 60;
/** What a server may grow by: it has worked for the first time. */
const MEMORY_MIB_MAX = 160;
const SERVICE = "besieged";

interface Flood {
  readonly sent: number;
  readonly ms: number;
  readonly answers: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

const processes = new Processes();
afterAll(() => processes.end());

test("[A1pb] however many wrong keys come from an address, a right one from there always passes; they are told so, then to slow down", {
  timeout: 60_000 + 3 * SPAN_MS,
}, async () => {
  const server = await processes.server({ store: "memory" });
  const given = { serverUrl: server.url, apiKey: ROOT_KEY, service: SERVICE };
  const user = processes.script("steady-user.mjs", given);
  const attacker = processes.script("wrong-keys.mjs", given);
  await user.call("work", { forMs: 200 });
  const beforeMib = memoryMib(server.child);
  const flooding = attacker.call<Flood>("flood", { perSecond: PER_SECOND, forMs: SPAN_MS });
  const working = user.call<number[]>("work", { forMs: SPAN_MS });
  let isOver = false;
  void flooding.finally(() => {
    isOver = true;
  });
  const right: number[] = [];
  let peakMib = 0;
  while (!isOver) {
    right.push(await statusWith(server.url, ROOT_KEY), await upgradeWith(server.url, ROOT_KEY));
    peakMib = Math.max(peakMib, memoryMib(server.child));
  }
  const { sent, ms, answers } = await flooding;
  const cycles = await working;
  const told = Object.values(answers).reduce((sum, byStatus) => sum + (byStatus[401] ?? 0), 0);
  console.info(
    `[A1pb] ${sent} wrong keys in ${(ms / 1_000).toFixed(1)} s, answered ${JSON.stringify(answers)}; ${right.length} requests and ` +
      `upgrades and ${cycles.length} locks with a right key from the same address; memory at most ${peakMib.toFixed(0)} MiB, ` +
      `${beforeMib.toFixed(0)} before`,
  );
  expect(new Set(right)).toEqual(new Set([200, 101]));
  expect(cycles.length).toBeGreaterThan(0);
  const windows = Math.ceil(ms / 60_000) + 1;
  const statuses = Object.values(answers).flatMap((byStatus) => Object.keys(byStatus));
  expect(new Set(statuses)).toEqual(new Set(["401", "429"]));
  expect(told).toBeGreaterThanOrEqual(TOLD_A_MINUTE);
  expect(told).toBeLessThanOrEqual(windows * TOLD_A_MINUTE);
  // All three ways in are told to slow down.
  for (const byStatus of Object.values(answers)) expect(byStatus[429]).toBeGreaterThan(0);
  expect(peakMib - beforeMib).toBeLessThan(MEMORY_MIB_MAX);
  await server.child.kill("SIGTERM");
  const lines = server.child.stderr.split("\n").filter((line) => line !== "");
  expect(lines.length).toBeGreaterThan(0);
  expect(lines.length).toBeLessThanOrEqual(windows);
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ level: 40, address: "127.0.0.1" });
  // Neither the right key nor what was tried.
  expect(server.child.stderr).not.toContain("ldb_");
});

async function statusWith(url: string, apiKey: string): Promise<number> {
  const wait = new HttpWait(url, { method: "GET", path: "/v1/self", apiKey });
  return (await wait.until(({ closedMs }) => closedMs !== null)).status;
}

async function upgradeWith(url: string, apiKey: string): Promise<number> {
  const wait = new HttpWait(url, { method: "GET", path: "/v1/connect", apiKey, upgrades: true });
  const { status } = await wait.until(({ answeredMs, closedMs }) => answeredMs !== null || closedMs !== null);
  wait.close();
  return status;
}
