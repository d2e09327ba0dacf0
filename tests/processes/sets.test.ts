import type { LockEvent, LockSpec } from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clockMs, median, Processes, quantile, ROOT_KEY } from "./processes.js";

const PROCESSES = 2;
const CLIENTS = 50;
const SETS_EACH = 20;
/** Sets that one client takes or waits for at a time. */
const AT_ONCE = 3;
const SETS = CLIENTS * SETS_EACH;
const NAMES_MAX = 6;
const HELD_MS_MAX = 2;
/** Two thirds are exclusive or shared; of the others so many permits are out. */
const NAMES = Array.from({ length: 30 }, (_, at) => (at % 3 < 2 ? `lock/${at}` : `pool/${at}`));
const PERMITS: Readonly<Record<string, number>> = Object.fromEntries(
  NAMES.filter((name) => name.startsWith("pool/")).map((name, at) => [name, 2 + (at % 4)]),
);

const processes = new Processes();
afterAll(() => processes.end());

type Part = LockSpec & { readonly name: string };

/** A set that was granted, as its client knows it. */
interface Taken {
  readonly set: readonly Part[];
  readonly token: number;
  readonly ticket: number | null;
  readonly askedMs: number;
  readonly grantedMs: number;
}

interface Seen {
  readonly events: readonly LockEvent[];
  readonly lists: number;
  readonly setsSeen: number;
  readonly partly: readonly string[];
}

describe(`${CLIENTS} clients in ${PROCESSES} processes take ${SETS} random sets of 2 to ${NAMES_MAX} of ${NAMES.length} locks`, () => {
  let taken: readonly Taken[] = [];
  let seen: Seen;
  let judged: Judgement;

  beforeAll(async () => {
    const server = await processes.server();
    const target = { service: "sets", serverUrl: server.url, apiKey: ROOT_KEY };
    const observer = processes.script("observer.mjs", target);
    const shares = Array.from({ length: PROCESSES }, (_, process) => {
      const clients = Array.from({ length: CLIENTS / PROCESSES }, (_, at) => `client ${process}.${at}`);
      const load = { setsEach: SETS_EACH, atOnce: AT_ONCE, namesMax: NAMES_MAX, heldMsMax: HELD_MS_MAX };
      return processes.script("sets.mjs", { ...target, ...load, clients, names: NAMES, permits: PERMITS });
    });
    await Promise.all([observer, ...shares].map((child) => child.next("ready")));

    const startMs = clockMs();
    taken = (await Promise.all(shares.map((share) => share.call<readonly Taken[]>("run")))).flat();
    const seconds = (clockMs() - startMs) / 1_000;
    seen = await observer.call<Seen>("stop");
    judged = judge(seen.events, taken);

    const waits = taken.filter(({ ticket }) => ticket !== null).map((one) => one.grantedMs - one.askedMs);
    console.info(
      `[Q5p] ${CLIENTS} clients took ${taken.length} sets of 2 to ${NAMES_MAX} in ${seconds.toFixed(1)} s: ${waits.length} waited, ` +
        `${median(waits).toFixed(0)} ms (median; 99 of 100 within ${quantile(waits, 0.99).toFixed(0)} ms, longest ` +
        `${Math.max(...waits).toFixed(0)} ms)`,
    );
  }, 60_000);

  test("[Q5p] all of them are granted", () => {
    expect(taken).toHaveLength(SETS);
    expect(new Set(taken.map(({ token }) => token)).size).toBe(SETS);
  });

  test("[Q5q] of two that are in each other's way, and waited, the first to ask was first", () => {
    const waited = taken.filter(({ ticket }) => ticket !== null).sort((a, b) => a.ticket! - b.ticket!);
    let pairs = 0;
    const wrong: string[] = [];
    for (const [at, first] of waited.entries()) {
      for (const second of waited.slice(at + 1)) {
        // Whoever asks after a grant comes after it anyway.
        if (second.askedMs > first.grantedMs || hasRoom(first, [second])) continue;
        pairs++;
        if (first.token > second.token) wrong.push(`${text(second)} before ${text(first)}`);
      }
    }
    console.info(
      `[Q5q] ${pairs} pairs of waiting sets were in each other's way at a time: ${wrong.length} in the wrong order`,
    );
    expect(pairs).toBeGreaterThan(SETS);
    expect(wrong).toEqual([]);
  });

  test("[Q5r] nobody is granted anything that those who hold it, and those who asked before, leave no room for", () => {
    console.info(
      `[Q5r] ${judged.grants} grants replayed from ${seen.events.length} events: ${judged.passed} had others before them in ` +
        `a queue who were not in their way, ${judged.wrong.length} had no room`,
    );
    expect(seen.events.filter(({ type }) => type === "gap")).toEqual([]);
    expect(judged.grants).toBe(SETS);
    expect(judged.passed).toBeGreaterThan(0);
    expect(judged.wrong).toEqual([]);
  });

  test("[Q5s] no set is ever partly held", () => {
    console.info(
      `[Q5s] ${seen.lists} lists while sets came and went showed ${seen.setsSeen} held sets, ${seen.partly.length} in part`,
    );
    expect(seen.setsSeen).toBeGreaterThan(SETS / 10);
    expect(seen.partly).toEqual([]);
    // Each grant and each end tells of all the locks of its set.
    expect(judged.parts).toEqual([]);
    expect(judged.left).toEqual([]);
  });
});

interface Judgement {
  readonly grants: number;
  /** Grants to somebody who had others before him, whom he did not keep waiting. */
  readonly passed: number;
  readonly wrong: readonly string[];
  /** Events that tell of a part of a set. */
  readonly parts: readonly string[];
  /** What was still held or waited for at the end. */
  readonly left: readonly string[];
}

/** Plays all events again, in their order, with what the clients say of their sets. */
function judge(events: readonly LockEvent[], taken: readonly Taken[]): Judgement {
  const byToken = new Map(taken.map((one) => [one.token, one]));
  const byTicket = new Map(taken.map((one) => [one.ticket, one]));
  const held = new Set<Taken>();
  const waiting = new Set<Taken>();
  let [grants, passed] = [0, 0];
  const wrong: string[] = [];
  const parts: string[] = [];
  for (const event of events) {
    if (event.type === "gap") continue;
    const one = event.type === "queued" ? byTicket.get(event.ticket ?? null) : byToken.get(event.token ?? 0);
    if (one === undefined) {
      wrong.push(`nobody's: ${JSON.stringify(event)}`);
      continue;
    }
    if (event.names.join() !== one.set.map(({ name }) => name).join()) parts.push(JSON.stringify(event));
    if (event.type === "queued") waiting.add(one);
    else if (event.type === "released") held.delete(one);
    else if (event.type === "granted") {
      waiting.delete(one);
      const before = [...waiting].filter(({ ticket }) => one.ticket === null || ticket! < one.ticket);
      if (!hasRoom(one, [...held, ...before])) wrong.push(text(one));
      if (before.some((other) => other.set.some(({ name }) => partOf(one, name) !== undefined))) passed++;
      held.add(one);
      grants++;
    } else wrong.push(JSON.stringify(event));
  }
  return { grants, passed, wrong, parts, left: [...held, ...waiting].map(text) };
}

function hasRoom(one: Taken, others: readonly Taken[]): boolean {
  return one.set.every((part) => {
    const all = [part, ...others.flatMap((other) => partOf(other, part.name) ?? [])];
    if (part.permits !== undefined)
      return all.reduce((sum, { weight = 1 }) => sum + weight, 0) <= part.permits;
    return all.length === 1 || all.every(({ mode }) => mode === "shared");
  });
}

function partOf({ set }: Taken, name: string): Part | undefined {
  return set.find((part) => part.name === name);
}

function text({ token, ticket, set }: Taken): string {
  return `#${token} (ticket ${ticket ?? "none"}) ${JSON.stringify(set)}`;
}
