import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Child, clockMs, median, type Notice, Processes, ROOT_KEY } from "./processes.js";

const SEATS = 5;
const ROUNDS = 20;
/** What "no hang" means here, for the slowest machine; how fast it is, is printed. */
const ROUND_MS_MAX = 10_000;

const processes = new Processes();
afterAll(() => processes.end());

/** One time that somebody had a first fork, and asked for the second. */
interface Attempt {
  readonly token: number;
  /** Before the call to the neighbour's service, and when its answer was there. */
  readonly calledMs: number;
  readonly answeredMs: number;
  /** When that service asked for the fork. */
  readonly askedMs: number;
}

interface Refusal extends Attempt {
  readonly refusedMs: number;
  readonly error: { readonly code: string; readonly message: string; readonly cycle: readonly string[] };
}

interface Dinner {
  readonly refusals: readonly Refusal[];
  readonly eaten: Attempt & { readonly secondToken: number };
}

interface Round {
  /** The tokens of the first forks, by seat, where all had theirs at once. */
  readonly tokens: readonly number[];
  readonly dinners: readonly Dinner[];
  readonly tookMs: number;
}

describe(`${SEATS} philosophers, each a service of its own that takes one fork and has its neighbour take the other`, () => {
  let philosophers: readonly Child[] = [];
  let ports: readonly number[] = [];
  let closed: readonly Round[] = [];
  let ordered: readonly Round[] = [];

  beforeAll(async () => {
    const server = await processes.server();
    const given = { service: "philosophers", serverUrl: server.url, apiKey: ROOT_KEY };
    philosophers = seats((seat) => processes.script("philosopher.mjs", { ...given, name: nameOf(seat) }));
    const ready = philosophers.map((child) => child.next<Notice & { readonly port: number }>("ready"));
    ports = (await Promise.all(ready)).map(({ port }) => port);
    closed = await inTurn(ROUNDS, () => round(true));
    ordered = await inTurn(ROUNDS, () => round(false));
  }, 60_000);

  /** @param isRing all take their left fork first, and nobody asks for the right one before; else the lower fork is first */
  async function round(isRing: boolean): Promise<Round> {
    const startMs = clockMs();
    const dinners = philosophers.map((child, seat) => {
      const forks = [forkOf(seat), forkOf(seat + 1)];
      const [first, second] = isRing ? forks : forks.toSorted();
      const port = ports[(seat + 1) % SEATS];
      return child.call<Dinner>("dine", { first, second, port, waitsForAll: isRing });
    });
    const holds = philosophers.map((child) =>
      isRing ? child.next<Notice & { readonly token: number }>("holds") : { token: 0 },
    );
    const tokens = (await Promise.all(holds)).map(({ token }) => token);
    if (isRing) await Promise.all(philosophers.map((child) => child.call("go")));
    return { tokens, dinners: await Promise.all(dinners), tookMs: clockMs() - startMs };
  }

  test("[D2p] the request that closes the ring is refused at once, and everybody eats", () => {
    const refusals = closed.map(({ dinners }) => dinners.flatMap((dinner) => dinner.refusals));
    const all = refusals.flat();
    const askedMs = all.map((refusal) => refusal.refusedMs - refusal.askedMs);
    const calledMs = all.map((refusal) => refusal.answeredMs - refusal.calledMs);
    // The first has no connection between the services yet, and runs everything for the first time.
    const [coldMs, ...warmMs] = askedMs;
    console.info(
      `[D2p] ${ROUNDS} rounds of ${SEATS}: ${all.length} refused; from the closing request to the error ` +
        `${median(warmMs).toFixed(1)} ms (median; longest ${Math.max(...warmMs).toFixed(1)} ms; the very first ` +
        `${coldMs!.toFixed(1)} ms), with the call between the services ${median(calledMs).toFixed(1)} ms; all ate, a round took ` +
        `${median(closed.map(({ tookMs }) => tookMs)).toFixed(0)} ms`,
    );
    // One in each round, and nobody else: whoever gives up his fork lets the others go on.
    expect(refusals.map((some) => some.length)).toEqual(closed.map(() => 1));
    expect(all.map(({ error }) => error.code)).toEqual(all.map(() => "DEADLOCK"));
    expect(Math.max(...closed.map(({ tookMs }) => tookMs))).toBeLessThan(ROUND_MS_MAX);
  });

  test("[D2q] the refusal spells out the ring, a line a step: who has what under which token, and who waits for it", () => {
    const [{ tokens, dinners }] = closed as [Round];
    const [refusal] = dinners.flatMap(({ refusals }) => refusals) as [Refusal];
    console.info(`[D2q] a refusal: ${refusal.error.message}`);
    for (const { tokens, dinners } of closed) {
      const [{ token, error }] = dinners.flatMap(({ refusals }) => refusals) as [Refusal];
      const refused = tokens.indexOf(token);
      expect(error.cycle).toEqual(
        seats((at) => {
          const [seat, next] = [(refused + at) % SEATS, (refused + at + 1) % SEATS];
          return (
            `${nameOf(seat)} (token ${tokens[seat]}, holding "${forkOf(seat)}") waits through ${nameOf(next)} for ` +
            `"${forkOf(next)}", which ${nameOf(next)} holds (token ${tokens[next]})`
          );
        }),
      );
    }
    expect(dinners).toHaveLength(tokens.length);
  });

  test("[D2r] when all take the lower fork first, nobody is refused", () => {
    const dinners = ordered.flatMap((round) => round.dinners);
    console.info(
      `[D2r] ${ROUNDS} rounds in one order: ${dinners.length} ate, none refused, a round took ` +
        `${median(ordered.map(({ tookMs }) => tookMs)).toFixed(0)} ms`,
    );
    expect(dinners).toHaveLength(ROUNDS * SEATS);
    expect(dinners.flatMap(({ refusals }) => refusals)).toEqual([]);
    expect(Math.max(...ordered.map(({ tookMs }) => tookMs))).toBeLessThan(ROUND_MS_MAX);
  });
});

function seats<T>(make: (seat: number) => T): readonly T[] {
  return Array.from({ length: SEATS }, (_, seat) => make(seat));
}

function nameOf(seat: number): string {
  return `philosopher-${seat % SEATS}`;
}

function forkOf(seat: number): string {
  return `fork/${seat % SEATS}`;
}

async function inTurn<T>(times: number, make: () => Promise<T>): Promise<readonly T[]> {
  const made: T[] = [];
  for (let time = 0; time < times; time++) made.push(await make());
  return made;
}
