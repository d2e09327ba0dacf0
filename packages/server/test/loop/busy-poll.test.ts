import { expect, test } from "vitest";
import { busyPolling, type LoopRuntime, nodeRuntime } from "../../src/loop/index.js";

const STAY_MS = 1 / 8;
const LOOK_MS = 1 / 64;
/** So often it is awake for nothing before it rests. */
const MISSES = 8;
const REST_MS = 100;

/** A process of which each step is made by hand. */
class Hand {
  nowMs = 1_000;
  readonly totals = { busyPollMs: 0 };
  readonly runtime: LoopRuntime;
  #looks: (() => void)[] = [];
  #turn: () => void = () => {};

  constructor(stayMs = STAY_MS) {
    const bare: LoopRuntime = {
      ...nodeRuntime,
      monotonicMs: () => this.nowMs,
      defer: (callback) => {
        this.#turn = callback;
      },
    };
    this.runtime = busyPolling(bare, stayMs, this.totals, (look) => this.#looks.push(look));
  }

  get isAwake(): boolean {
    return this.#looks.length > 0;
  }

  /** Something comes, and is done. */
  turn(done: () => void = () => {}): void {
    this.runtime.defer(done);
    this.#turn();
  }

  /** The event loop turns, and nothing is there. */
  look(ms = LOOK_MS): void {
    this.nowMs += ms;
    const looks = this.#looks;
    this.#looks = [];
    for (const each of looks) each();
  }

  /** Until it sleeps; how long that took. */
  wait(): number {
    const startedMs = this.nowMs;
    while (this.isAwake) this.look();
    return this.nowMs - startedMs;
  }

  /** Something comes while it looks for the next, `count` times. */
  caught(count: number): void {
    for (let at = 0; at < count; at++) {
      this.look();
      this.turn();
    }
  }
}

test("[I6zy] after a turn it is awake for as long as it may be, and then it sleeps", () => {
  const hand = new Hand();
  expect(hand.isAwake).toBe(false);
  hand.turn(() => expect(hand.isAwake).toBe(false));
  expect(hand.wait()).toBeCloseTo(STAY_MS);
  hand.turn();
  expect(hand.wait()).toBeCloseTo(STAY_MS);
});

test("[I6zy] what comes meanwhile is done, and it is awake from then on as long again, by one look at a time", () => {
  const hand = new Hand();
  hand.turn();
  hand.look(0.6 * STAY_MS);
  let isDone = false;
  hand.turn(() => {
    isDone = true;
  });
  expect(isDone).toBe(true);
  hand.look(0.6 * STAY_MS);
  expect(hand.isAwake).toBe(true);
  hand.look(0.6 * STAY_MS);
  expect(hand.isAwake).toBe(false);
});

test("[I6zy] when that does not pay it sleeps at once, and tries again after 100 ms", () => {
  const hand = new Hand();
  const tries = () => {
    for (let count = 0; count < 2 * MISSES; count++) {
      hand.turn();
      if (!hand.isAwake) return count;
      hand.wait();
    }
    return "for ever";
  };
  expect(tries()).toBe(MISSES);
  hand.nowMs += REST_MS - 1;
  expect(tries()).toBe(0);
  hand.nowMs += 2;
  expect(tries()).toBe(MISSES);
});

test("[I6zy] it pays when four turns of five come in time", () => {
  const awakeOf = (caught: number) => {
    const hand = new Hand();
    let awake = 0;
    for (let at = 0; at < 100; at++) {
      hand.turn();
      if (!hand.isAwake) continue;
      awake++;
      hand.caught(caught);
      hand.wait();
    }
    return awake;
  };
  expect(awakeOf(4)).toBe(100);
  expect(awakeOf(3)).toBeLessThan(50);
});

test("[I6zy] what was caught long ago does not keep it awake for nothing", () => {
  const hand = new Hand();
  hand.turn();
  hand.caught(10_000);
  hand.wait();
  let misses = 1;
  for (hand.turn(); hand.isAwake && misses < 2 * MISSES; hand.turn()) {
    hand.wait();
    misses++;
  }
  expect(misses).toBe(MISSES);
});

test("[I6zy] told is the time in which nothing was done", () => {
  const hand = new Hand();
  hand.turn();
  hand.wait();
  expect(hand.totals.busyPollMs).toBeCloseTo(STAY_MS);
  hand.turn();
  hand.look();
  // Something else than a turn: a request that needs none.
  hand.look(5);
  expect(hand.isAwake).toBe(false);
  expect(hand.totals.busyPollMs).toBeCloseTo(STAY_MS + LOOK_MS);
});

test("[I6zy] a turn is work, however short it is", () => {
  const hand = new Hand();
  hand.turn();
  hand.turn(() => {
    hand.nowMs += LOOK_MS / 2;
  });
  hand.look();
  expect(hand.totals.busyPollMs).toBe(LOOK_MS);
});

test("[I6zy] it sleeps, too, when the clock stands still", () => {
  const hand = new Hand();
  hand.turn();
  let looks = 0;
  for (; hand.isAwake && looks < 20_000; looks++) hand.look(0);
  expect(looks).toBe(10_000);
});

test("[I6zy] whoever does not want it has the runtime as it was", () => {
  expect(busyPolling(nodeRuntime, 0, { busyPollMs: 0 })).toBe(nodeRuntime);
});

test("[Q7rc] that a connection has ended is asked for by the runtime below", () => {
  const asked: boolean[] = [];
  const bare: LoopRuntime = {
    ...nodeRuntime,
    defer: (callback, hasEnd = () => false) => {
      asked.push(hasEnd());
      callback();
    },
  };
  const runtime = busyPolling(bare, STAY_MS, { busyPollMs: 0 }, () => {});
  runtime.defer(
    () => {},
    () => true,
  );
  expect(asked).toEqual([true]);
});

test("[I6zy] on the event loop each look is in a turn of its own, and most find nothing", async () => {
  const totals = { busyPollMs: 0 };
  let turns = 0;
  await new Promise<void>((done) => {
    const again = (look: () => void) => setImmediate(() => (++turns < 1_000 ? look() : done()));
    busyPolling(nodeRuntime, 60_000, totals, again).defer(() => {});
  });
  expect(totals.busyPollMs).toBeGreaterThan(0);
});
