import { connect, type Socket } from "node:net";
import LockDB from "lockdb";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Child,
  clockMs,
  median,
  Processes,
  quantile,
  type RawNotice,
  ROOT_KEY,
  type ServerProcess,
  until,
} from "./processes.js";

const SERVICE = "processes";
const TRIES = 400;
const TAKEN_BACK_MS = 50;
/** After this long without a grant the next waiter is helped: the caller's hold lasts 300 s. */
const GIVEN_UP_MS = 2_000;
/** How the caller hangs up: it closes, it resets, or it is busy with other things before it closes. */
const WAYS = ["close", "reset", "busy, then close"] as const;

const processes = new Processes();
let server: ServerProcess;
let holder: LockDB;
let waiter: Child;
beforeAll(async () => {
  server = await processes.server();
  holder = new LockDB(SERVICE, { serverUrl: server.url, apiKey: ROOT_KEY });
  waiter = await processes.raw(server, { leaseMs: 600_000 });
});
afterAll(async () => {
  await holder.close();
  await processes.end();
});

// Holder, HTTP caller, next waiter, in this order; the holder releases, and the caller hangs up after a pause. The pauses
// go over the time a grant takes to arrive and beyond, so that hang-ups come before the grant, while it is written to disk,
// while it is on its way, and when it lies unread at the caller. A caller that has read its grant has it, and unlocks.
test("[Q7p] a grant whose HTTP caller has hung up is taken back at once", { timeout: 40_000 }, async () => {
  const arrivalsMs: number[] = [];
  for (let at = 0; at < 20; at++) arrivalsMs.push((await attempt(`arrives/${at}`, "close", null)).spanMs);
  const arrivalMs = median(arrivalsMs);

  const spansMs: number[] = [];
  const late: string[] = [];
  let read = 0;
  for (let at = 0; at < TRIES; at++) {
    const way = WAYS[at % WAYS.length]!;
    const pauseMs = (Math.floor(at / WAYS.length) / (TRIES / WAYS.length)) * arrivalMs * 1.5;
    const { hasRead, spanMs } = await attempt(`hung up/${at}`, way, pauseMs);
    if (hasRead) read++;
    else spansMs.push(spanMs);
    if (spanMs > TAKEN_BACK_MS) late.push(`${way} after ${pauseMs.toFixed(2)} ms: ${spanMs.toFixed(1)} ms`);
  }
  console.info(
    `[Q7p] ${TRIES} HTTP callers hung up 0 to ${(arrivalMs * 1.5).toFixed(1)} ms after the release (a grant takes ` +
      `${arrivalMs.toFixed(1)} ms); ${read} had read it; after the other ${spansMs.length} the next had the lock in ` +
      `median ${median(spansMs).toFixed(1)} ms, p99 ${quantile(spansMs, 0.99).toFixed(1)} ms, ` +
      `longest ${Math.max(...spansMs).toFixed(1)} ms`,
  );
  expect(late).toEqual([]);
  // Otherwise the pauses have missed what they are for.
  expect(spansMs.length).toBeGreaterThan(TRIES / 4);
});

interface Outcome {
  readonly hasRead: boolean;
  /** From the later of release and hang-up, or from the caller's own unlock, to the next grant. */
  readonly spanMs: number;
}

/** `pauseMs` null: the caller waits for its answer; the span is then from the release to that. */
async function attempt(name: string, way: (typeof WAYS)[number], pauseMs: number | null): Promise<Outcome> {
  const lease = await holder.acquire(name);
  const caller = await post("/lock", { lockName: name, waitForLockInMs: 10_000 });
  await until("the caller is in the queue", async () => (await holder.inspect(name)).queueLength === 1);
  await waiter.call("send", { messages: [["acquire", ++requests, name, null]] });
  const id = requests;
  const isMine = ({ message }: RawNotice) => message[1] === id;
  await waiter.next<RawNotice>("message", (notice) => isMine(notice) && notice.message[0] === "queued");

  let answer = "";
  const answered = new Promise<void>((resolve) => {
    caller.on("data", (text: string) => {
      answer += text;
      resolve();
    });
  });
  const releasedMs = clockMs();
  const released = lease.release();
  if (pauseMs === null) await answered;
  else await pause(pauseMs, way === "busy, then close");
  const hasRead = answer !== "";
  let fromMs = clockMs();
  const arrivalMs = fromMs - releasedMs;
  if (way === "reset") caller.resetAndDestroy();
  else caller.destroy();
  await released;
  if (hasRead) {
    expect(answer).toMatch(/^HTTP\/1.1 200 .*"eventName":"lock"/s);
    fromMs = clockMs();
    await unlock(name);
  }
  const isGrant = (notice: RawNotice) => isMine(notice) && notice.message[0] === "granted";
  const granted = await waiter.next<RawNotice>("message", isGrant, GIVEN_UP_MS).catch(() => null);
  if (granted === null) {
    await unlock(name);
    return { hasRead, spanMs: Number.POSITIVE_INFINITY };
  }
  await waiter.call("send", { messages: [["release", ++requests, granted.message[2] as number]] });
  return { hasRead, spanMs: pauseMs === null ? arrivalMs : Math.max(0, granted.atMs - fromMs) };
}

async function unlock(name: string): Promise<void> {
  const caller = await post("/unlock", { lockName: name });
  await new Promise((resolve) => caller.once("data", resolve));
  caller.destroy();
}

let requests = 0;

/** A request over a connection of its own, sent. */
async function post(path: string, body: object): Promise<Socket> {
  const text = JSON.stringify({ serviceId: SERVICE, ...body });
  const socket = connect(server.port, "127.0.0.1");
  socket.setNoDelay(true).setEncoding("utf8");
  socket.on("error", () => {});
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  socket.write(
    `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${ROOT_KEY}\r\n` +
      `content-type: text/plain;charset=UTF-8\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
  return socket;
}

/** Shorter than timers can. Busy: nothing is read meanwhile, though a first turn lets the release leave. */
async function pause(ms: number, isBusy: boolean): Promise<void> {
  const endMs = clockMs() + ms;
  do await new Promise((resolve) => setImmediate(resolve));
  while (!isBusy && clockMs() < endMs);
  while (clockMs() < endMs);
}
