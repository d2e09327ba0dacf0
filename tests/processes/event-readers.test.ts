import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { type Child, clockMs, memoryMib, Processes, quantile, ROOT_KEY } from "./processes.js";

/** `LOCKDB_READERS=5000` is what the promise is about. */
const READERS = Number(process.env.LOCKDB_READERS ?? 300);
const EVENTS_A_SECOND = 20;
/** Of so many readers one looks at what it reads. */
const ONE_OF = READERS > 1_000 ? 10 : 1;
const SPAN_MS = READERS > 1_000 ? 30_000 : 6_000;
const SERVICE = "readers";
const P99_MS_MAX = 1_000;
/** What the server may grow by: what may wait for slow readers in sum, and what a connection takes. */
const MEMORY_MIB_MAX = 128 + READERS * 0.04;

const processes = new Processes();
afterAll(() => processes.end());

test("[N3t] many readers of events hear them in time, one that never reads is cut, and memory stays bounded", {
  timeout: READERS > 1_000 ? 180_000 : 60_000,
}, async () => {
  const server = await processes.server({ store: "memory" });
  const given = { serverUrl: server.url, apiKey: ROOT_KEY, service: SERVICE };
  const [readers, ticker, fat] = [
    processes.script("sse-readers.mjs", given),
    processes.script("event-makers.mjs", given),
    processes.script("event-makers.mjs", given),
  ];
  await readers.call("open", { count: READERS - 1, prefix: "tick/", oneOf: ONE_OF });
  await readers.call("openSlow");
  const beforeMib = memoryMib(server.child);
  const cpuBefore = cpuSeconds(server.child);
  const startedMs = clockMs();
  // A lock and its release are two events. Only the one that never reads sees the large ones: an operating system keeps
  // megabytes for it, before anything waits in the server.
  const making = [
    ticker.call("make", { names: ["tick/1"], everyMs: 2_000 / EVENTS_A_SECOND, forMs: SPAN_MS }),
    fat.call("make", { names: largeNames(), everyMs: 20, forMs: SPAN_MS }),
  ];
  let peakMib = 0;
  let lastWords: Promise<string> | null = null;
  while (clockMs() - startedMs < SPAN_MS) {
    // By then it was cut, and has half a minute to hear why.
    if (clockMs() - startedMs > Math.min(SPAN_MS * 0.8, 15_000))
      lastWords ??= readers.call<string>("readSlow");
    peakMib = Math.max(peakMib, memoryMib(server.child));
    await setTimeout(200);
  }
  const [ticks] = (await Promise.all(making)) as [number, number];
  // What is gathered is written within a fifth of a second.
  const expected = ticks * 2 * Math.ceil((READERS - 1) / ONE_OF);
  const latencies: number[] = [];
  let closedCount = 0;
  for (let round = 0; round < 50 && latencies.length < expected; round++) {
    const counted = await readers.call<{ latencies: number[]; closedCount: number }>("counted");
    for (const latency of counted.latencies) latencies.push(latency);
    closedCount = counted.closedCount;
    await setTimeout(100);
  }
  const cpu = cpuSeconds(server.child) - cpuBefore;
  const p99Ms = quantile(latencies, 0.99);
  console.info(
    `[N3t] ${READERS} readers, ${((ticks * 2) / (SPAN_MS / 1_000)).toFixed(1)} events a second for ${SPAN_MS / 1_000} s: ` +
      `${latencies.length} of ${expected} heard, p50 ${quantile(latencies, 0.5)} ms, p99 ${p99Ms} ms, most ${quantile(latencies, 1)} ms; ` +
      `the server took ${cpu.toFixed(1)} s of a processor; memory ${beforeMib.toFixed(0)} MiB before, ${peakMib.toFixed(0)} MiB at most`,
  );
  // Nobody but the one that did not read.
  expect(closedCount).toBe(1);
  // Those that a piece of the stream has cut in two are not counted.
  expect(latencies.length).toBeGreaterThan(expected * 0.99);
  expect(await lastWords).toMatch(/event: cut\ndata: \{"reason":"SLOW_READER"/);
  expect(p99Ms).toBeLessThanOrEqual(P99_MS_MAX);
  expect(peakMib - beforeMib).toBeLessThan(MEMORY_MIB_MAX);
});

/** A set whose events are some 32 KB each. */
function largeNames(): readonly string[] {
  return Array.from({ length: 64 }, (_, at) => `fat/${at}`.padEnd(500, "x"));
}

/** Which Linux counts in hundredths. */
function cpuSeconds({ pid }: Child): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
