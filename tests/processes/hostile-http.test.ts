import { afterAll, expect, test } from "vitest";
import { clockMs, Processes, quantile, ROOT_KEY } from "./processes.js";

/** `LOCKDB_HOSTILE=10000` idle connections are what the promise is about. */
const IDLE = Number(process.env.LOCKDB_HOSTILE ?? 1_000);
const SLOW = 200;
const ATTACKS_A_SECOND = 50;
const SPAN_MS = IDLE > 1_000 ? 30_000 : 5_000;
const SERVICE = "hostile";
/** Below this a factor is none of the server: it is the machine that has other things to do. */
const QUIET_MS_MIN = 5;

const processes = new Processes();
afterAll(() => processes.end());

test("[N3u] hostile HTTP is refused, and whoever uses locks meanwhile hardly notices", {
  timeout: 180_000,
}, async () => {
  // Another server, which nobody attacks, tells what the machine does meanwhile.
  const [server, quietServer] = [await processes.server(), await processes.server()];
  const given = (url: string) => ({ serverUrl: url, apiKey: ROOT_KEY, service: SERVICE });
  const user = processes.script("steady-user.mjs", given(server.url));
  const quietUser = processes.script("steady-user.mjs", given(quietServer.url));
  const attacker = processes.script("attacker.mjs", given(server.url));
  const work = (forMs: number) =>
    Promise.all([user, quietUser].map((each) => each.call<number[]>("work", { forMs })));
  await work(1_000);

  await attacker.call("idle", { count: IDLE });
  await attacker.call("slow", { count: SLOW });
  const attack = attacker.call<{ count: number; answers: Record<string, number> }>("attack", {
    perSecond: ATTACKS_A_SECOND,
  });
  const startedMs = clockMs();
  const [during, quiet] = (await work(SPAN_MS)) as [number[], number[]];
  const keptCount = await attacker.call<number>("keptCount");
  await attacker.call("stop");
  const { count, answers } = await attack;

  const [quietMs, hostileMs] = [quantile(quiet, 0.99), quantile(during, 0.99)];
  console.info(
    `[N3u] ${IDLE} idle connections, ${SLOW} slow requests and ${count} attacks in ${((clockMs() - startedMs) / 1_000).toFixed(1)} s, ` +
      `answered ${JSON.stringify(answers)}; ${keptCount} connections still open; a lock and its release: ` +
      `${during.length}, p50 ${quantile(during, 0.5).toFixed(2)} ms, p99 ${hostileMs.toFixed(2)} ms; ` +
      `at a server that nobody attacks ${quiet.length}, p50 ${quantile(quiet, 0.5).toFixed(2)} ms, p99 ${quietMs.toFixed(2)} ms`,
  );
  // Nothing of it was taken for a good request, and no refusal is a mistake of the server.
  expect(
    Object.keys(answers).filter((status) => !["0", "400", "401", "413", "431"].includes(status)),
  ).toEqual([]);
  expect(during.length).toBeGreaterThan(quiet.length / 3);
  expect(hostileMs).toBeLessThan(3 * Math.max(quietMs, QUIET_MS_MIN));
  const health = await fetch(`${server.url}/livez`);
  expect(health.status).toBe(200);
  const locks = await fetch(`${server.url}/v1/services/${SERVICE}/locks?prefix=hidden`, {
    headers: { authorization: `Bearer ${ROOT_KEY}` },
  });
  expect(await locks.json()).toMatchObject({ locks: [] });
});
