import { once } from "node:events";
import type { Lease } from "lockdb";
import { expect, test } from "vitest";
import { errorOf, realServer } from "./real.js";

const real = realServer();

/** Resolves with the lease of whoever comes to lead, and leads until its loss or the end of its signal. */
function leading(locker: ReturnType<typeof real.client>, signal?: AbortSignal) {
  const leases: Lease[] = [];
  let led: (lease: Lease) => void = () => {};
  const nextTime = () =>
    new Promise<Lease>((resolve) => {
      led = resolve;
    });
  const first = nextTime();
  const over = locker.lead(real.name, signal === undefined ? {} : { signal }, async (lease) => {
    leases.push(lease);
    led(lease);
    if (!lease.signal.aborted) await once(lease.signal, "abort");
  });
  return { first, nextTime, over, leases };
}

test("[Q9r] one leads, and is shown as the leader; when it loses the lock, another does, and it tries again", async () => {
  const [ann, bob, looker] = [real.client({ owner: "ann" }), real.client({ owner: "bob" }), real.client()];
  const events = looker.watch({ prefix: real.name });
  const stop = new AbortController();
  const anns = leading(ann, stop.signal);
  const lease = await anns.first;
  const bobs = leading(bob, stop.signal);
  while ((await looker.inspect(real.name)).queueLength === 0);
  const { holders } = await looker.inspect(real.name);
  expect(holders).toMatchObject([{ owner: "ann", leads: true, token: lease.token }]);
  const again = anns.nextTime();
  await looker.forceRelease(real.name, lease.token, "it hangs");
  expect((await bobs.first).previous).toMatchObject({ endedBy: "force", owner: "ann" });
  const seen = [];
  for (let n = 0; n < 4; n++) seen.push((await events.next()).value);
  expect(seen).toMatchObject([
    { type: "granted", owner: "ann", leads: true },
    { type: "queued", owner: "bob", leads: true },
    { type: "forced", owner: "ann", leads: true },
    { type: "granted", owner: "bob", leads: true },
  ]);
  while ((await looker.inspect(real.name)).queueLength === 0);
  await looker.forceRelease(real.name, (await bobs.first).token, "another time");
  expect((await again).token).toBeGreaterThan(lease.token);
  const enough = new Error("enough");
  stop.abort(enough);
  expect(await Promise.all([errorOf(anns.over), errorOf(bobs.over)])).toEqual([enough, enough]);
  expect(await looker.check(real.name)).toBe(false);
});

test("[Q9s] who ends its work while it leads has resigned", async () => {
  const locker = real.client();
  let count = 0;
  await locker.lead(real.name, async () => void count++);
  expect(count).toBe(1);
  expect(await locker.check(real.name)).toBe(false);
});

test("[Q9t] what the work throws while it leads ends it; what it throws after a loss does not", async () => {
  const locker = real.client();
  const mistake = new Error("the work's own");
  expect(await errorOf(locker.lead(real.name, () => Promise.reject(mistake)))).toBe(mistake);
  let times = 0;
  const over = locker.lead(real.name, async (lease) => {
    if (++times === 2) return;
    await locker.forceRelease(real.name, lease.token, "test");
    if (!lease.signal.aborted) await once(lease.signal, "abort");
    throw mistake;
  });
  await over;
  expect(times).toBe(2);
});

test("[Q9u] a signal that aborts while another leads ends the waiting", async () => {
  const [ann, bob] = [real.client(), real.client()];
  const lease = await ann.acquire(real.name);
  const stop = new AbortController();
  const over = bob.lead(real.name, { signal: stop.signal }, async () => {});
  while ((await ann.inspect(real.name)).queueLength === 0);
  stop.abort();
  await expect(over).rejects.toMatchObject({ name: "AbortError" });
  while ((await ann.inspect(real.name)).queueLength > 0);
  await lease.release();
  const late = AbortSignal.abort(new Error("before"));
  await expect(bob.lead(real.name, { signal: late }, async () => {})).rejects.toThrow("before");
});

test("[Q9v] a refusal that trying again does not mend ends it", async () => {
  const stranger = real.client({ apiKey: "wrong-key-of-some-length" });
  expect(await errorOf(stranger.lead(real.name, async () => {}))).toMatchObject({ code: "UNAUTHORIZED" });
});
