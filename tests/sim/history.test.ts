import { describe, expect, test } from "vitest";
import {
  type AcquireOp,
  type CheckOp,
  historyProblems,
  type LockHistory,
  type Op,
  type ReleaseOp,
  type UnlockOp,
} from "../../sim/src/history.js";
import { fit, type Want } from "../../sim/src/modes.js";
import { Random } from "../../sim/src/random.js";

const HISTORIES = 200;
const NEVER = Number.POSITIVE_INFINITY;

describe("the history checker", () => {
  test("[Q1h] histories of one lock service are accepted", () => {
    for (let seed = 1; seed <= HISTORIES; seed++) expect(problemsOf(made(seed)), `seed ${seed}`).toEqual([]);
  });

  test("[Q1i] two holds at once are found", () => {
    // Nothing ends before the next begins: the release is told to be later than the next grant.
    plant((ops, at) => {
      const [hold, next] = [ops[at]!, ops[at + 1]!];
      hold.release.calledMs = next.acquire.returnedMs + 1;
      hold.release.returnedMs = next.acquire.returnedMs + 2;
      hold.acquire.mayEndFromMs = hold.release.calledMs;
    });
  });

  test("[Q1j] a hold that ends before its lease is found", () => {
    plant((ops, at) => {
      const [hold, next] = [ops[at]!, ops[at + 1]!];
      hold.release.result = null;
      hold.release.returnedMs = NEVER;
      hold.release.calledMs = next.acquire.returnedMs + 5;
      hold.acquire.mayEndFromMs = next.acquire.returnedMs + 5;
    });
  });

  test("[F1h] tokens that are exchanged are found", () => {
    plant((ops, at) => {
      const [a, b] = [ops[at]!, ops[at + 1]!];
      [a.acquire.token, b.acquire.token] = [b.acquire.token, a.acquire.token];
      [a.release.token, b.release.token] = [b.release.token, a.release.token];
    });
  });

  test("[F1i] one token for two grants is found", () => {
    plant((ops, at) => {
      ops[at + 1]!.acquire.token = ops[at]!.acquire.token;
    });
  });

  test("[Q2h] somebody who is served before his turn is found", () => {
    plant((ops, at) => {
      const [a, b] = [ops[at]!.acquire, ops[at + 1]!.acquire];
      [a.ticket, b.ticket] = [b.ticket, a.ticket];
    });
  });

  test("[Q8h] an acknowledged release that did nothing is found", () => {
    const ops: Op[] = [
      granted("ann", 0, 1, 1),
      released("ann", 1, 2, 3, true),
      granted("bob", 4, 5, 2),
      // Token 1 was over long before.
      released("ann", 1, 6, 7, true),
    ];
    expect(problemsOf({ lock: "disk", ops, unheard: [] })).toHaveLength(1);
  });

  test("[Q8i] a release that is refused although it holds is found", () => {
    const ops = [granted("ann", 0, 1, 1), released("ann", 1, 2, 3, false)];
    expect(problemsOf({ lock: "disk", ops, unheard: [] })).toHaveLength(1);
  });

  test("[Q9h] a lock that is shown free while it is held is found", () => {
    const ops = [granted("ann", 0, 1, 1), check("bob", 2, 3, false), released("ann", 1, 4, 5, true)];
    expect(problemsOf({ lock: "disk", ops, unheard: [] })).toHaveLength(1);
    const late = [granted("ann", 0, 1, 1), check("bob", 2, 5, false), released("ann", 1, 4, 5, true)];
    expect(problemsOf({ lock: "disk", ops: late, unheard: [] })).toEqual([]);
  });

  test("[L9h] an unlock frees a detached hold and no other", () => {
    const detached = { ...granted("ann", 0, 1, 1), detached: true };
    const next = granted("bob", 4, 5, 2);
    const of = (ops: Op[]) => problemsOf({ lock: "disk", ops, unheard: [] });
    expect(of([detached, unlock("eve", 2, 3, true), next])).toEqual([]);
    expect(of([granted("ann", 0, 1, 1), unlock("eve", 2, 3, true), next])).toHaveLength(1);
    expect(of([detached, unlock("eve", 2, 3, false), next])).toHaveLength(1);
  });

  test("[L9i] an unlock whose answer was lost may have freed it, at any later time", () => {
    const detached = { ...granted("ann", 0, 1, 1), detached: true };
    const lost: UnlockOp = { ...unlock("eve", 2, NEVER, true), result: null };
    const of = (ops: Op[]) => problemsOf({ lock: "disk", ops, unheard: [] });
    expect(of([detached, lost, granted("bob", 40, 50, 2)])).toEqual([]);
    expect(of([detached, lost])).toEqual([]);
    expect(of([detached, { ...lost, calledMs: 60 }, granted("bob", 40, 50, 2)])).toHaveLength(1);
  });
});

describe("the history checker, on shared locks, semaphores and sets", () => {
  test("[Q4u] histories of one lock service are accepted", () => {
    for (let seed = 1; seed <= HISTORIES; seed++) {
      expect(problemsOf(mixed(seed)), `seed ${seed}`).toEqual([]);
    }
  });

  test("[Q4v] a hold beside another that it does not fit is found", () => {
    // Whoever had to end before it has ended after it.
    plantMixed((hold, later) => {
      hold.release.calledMs = later.acquire.returnedMs + 1;
      hold.release.returnedMs = later.acquire.returnedMs + 2;
      hold.acquire.mayEndFromMs = NEVER;
    });
  });

  test("[Q4w] shared holders together, and with an exclusive one never", () => {
    const [ann, bob] = [
      wanted(granted("ann", 0, 1, 1), "a", "shared"),
      wanted(granted("bob", 2, 3, 2), "a", "shared"),
    ];
    expect(problemsOf({ lock: "a", ops: [ann, bob], unheard: [] })).toEqual([]);
    const eve = wanted(granted("eve", 2, 3, 2), "a", "exclusive");
    expect(problemsOf({ lock: "a", ops: [ann, eve], unheard: [] })).toHaveLength(1);
    expect(
      problemsOf({ lock: "a", ops: [eve, { ...ann, token: 3, calledMs: 4, returnedMs: 5 }], unheard: [] }),
    ).toHaveLength(1);
  });

  test("[Q4x] permits of a semaphore, and no more", () => {
    const of = (...weights: number[]) =>
      problemsOf({
        lock: "pool",
        ops: weights.map((weight, at) => sem(granted(`c${at}`, 2 * at, 2 * at + 1, at + 1), 4, weight)),
        unheard: [],
      });
    expect(of(1, 1, 2)).toEqual([]);
    expect(of(2, 1, 2)).toHaveLength(1);
    const [four, five] = [sem(granted("ann", 0, 1, 1), 4, 1), sem(granted("bob", 2, 3, 2), 5, 1)];
    expect(problemsOf({ lock: "pool", ops: [four, five], unheard: [] })).toHaveLength(1);
  });

  test("[Q4y] of a semaphore's holders that may have ended, any that makes room", () => {
    const ops = [
      { ...sem(granted("ann", 0, 1, 1), 3, 1), mayEndFromMs: 2 },
      { ...sem(granted("bob", 0, 1, 2), 3, 2), mayEndFromMs: 2 },
      sem(granted("cid", 4, 5, 3), 3, 2),
      // Only if it was bob's.
      released("ann", 1, 6, 7, true),
    ];
    expect(problemsOf({ lock: "pool", ops, unheard: [] })).toEqual([]);
    const both = [...ops, released("bob", 2, 6, 7, true)];
    expect(problemsOf({ lock: "pool", ops: both, unheard: [] })).toHaveLength(1);
  });

  test("[Q5u] a set is in the way in each of its locks, and all of it at once", () => {
    const set = { ...granted("ann", 0, 1, 1), wants: [want("a", "exclusive"), want("b", "shared")] };
    const of = (...ops: Op[]) => problemsOf({ lock: "a", ops: [set, ...ops], unheard: [] });
    expect(of(wanted(granted("bob", 2, 3, 2), "b", "shared"))).toEqual([]);
    expect(of(wanted(granted("bob", 2, 3, 2), "b", "exclusive"))).toHaveLength(1);
    expect(of(wanted(granted("bob", 2, 3, 2), "a", "shared"))).toHaveLength(1);
    const done = released("ann", 1, 1.5, 1.8, true);
    expect(of(done, wanted(granted("bob", 2, 3, 2), "b", "exclusive"))).toEqual([]);
    expect(of({ ...check("eve", 2, 3, false), lock: "b" })).toHaveLength(1);
  });

  test("[Q2u] who waited before somebody in his way, and got it after him, is found", () => {
    const waited = (op: AcquireOp, ticket: number): AcquireOp => ({ ...op, ticket });
    const reader = waited(wanted(granted("ann", 0, 9, 2), "a", "shared"), 1);
    const second = waited(wanted(granted("bob", 0, 9, 1), "a", "shared"), 2);
    expect(problemsOf({ lock: "a", ops: [reader, second], unheard: [] })).toEqual([]);
    const set = {
      ...waited(granted("bob", 0, 9, 1), 2),
      wants: [want("b", "shared"), want("a", "exclusive")],
    };
    const over = released("bob", 1, 0, 9, true);
    expect(problemsOf({ lock: "a", ops: [reader, set, over], unheard: [] })).toHaveLength(1);
    expect(problemsOf({ lock: "a", ops: [{ ...reader, wasAway: true }, set, over], unheard: [] })).toEqual(
      [],
    );
  });

  test("[L9v] an unlock frees a semaphore's detached hold, and no set", () => {
    const hold = { ...sem(granted("ann", 0, 1, 1), 3, 3), detached: true };
    const next = sem(granted("bob", 4, 5, 2), 3, 3);
    const freed = { ...unlock("eve", 2, 3, true), lock: "pool" };
    expect(problemsOf({ lock: "pool", ops: [hold, freed, next], unheard: [] })).toEqual([]);
    const set = { ...hold, wants: [want("a", "exclusive"), want("b", "exclusive")] };
    const one = wanted(granted("bob", 4, 5, 2), "a", "exclusive");
    const ops = [set, { ...freed, lock: "a" }, one];
    expect(problemsOf({ lock: "a", ops, unheard: [] })).toHaveLength(1);
  });
});

interface Hold {
  acquire: Mutable<AcquireOp>;
  release: Mutable<ReleaseOp>;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Plants a fault at a random place of many histories; each must be found. */
function plant(fault: (holds: Hold[], at: number) => void): void {
  for (let seed = 1; seed <= HISTORIES; seed++) {
    const history = made(seed);
    const holds = holdsOf(history);
    fault(holds, new Random(seed).int(holds.length - 1));
    expect(problemsOf(history), `seed ${seed}`).not.toEqual([]);
  }
}

/** A history as a correct service makes it: clients overlap, answers are late, some releases are lost, some holds expire. */
function made(seed: number): LockHistory {
  const random = new Random(seed);
  const ops: Op[] = [];
  let nowMs = 0;
  const count = 3 + random.int(40);
  for (let token = 1; token <= count; token++) {
    const client = `c${random.int(5)}`;
    const grantedMs = nowMs + random.between(0.1, 5);
    const endedMs = grantedMs + random.between(1, 20);
    const releaseCalledMs = grantedMs + (endedMs - grantedMs) * random.between(0.5, 1);
    const isHeard = random.chance(0.8);
    ops.push({
      kind: "acquire",
      client,
      calledMs: grantedMs - random.between(0, 40),
      // Before its release is asked for; its answer may be long on its way until then.
      returnedMs: random.between(grantedMs, releaseCalledMs),
      token,
      detached: false,
      ticket: token,
      wasAway: false,
      mayEndFromMs: releaseCalledMs,
    });
    ops.push({
      kind: "release",
      client,
      calledMs: releaseCalledMs,
      returnedMs: isHeard ? endedMs + random.between(0, 30) : NEVER,
      token,
      result: isHeard ? true : null,
    });
    nowMs = endedMs;
  }
  return { lock: "disk", ops, unheard: [] };
}

/** The same of several locks in all modes, and of sets of them. */
function mixed(seed: number): LockHistory {
  const random = new Random(seed);
  const ops: Op[] = [];
  let held: { token: number; wants: readonly Want[]; isHeard: boolean }[] = [];
  let nowMs = 0;
  let token = 0;
  const end = (at: number) => {
    const { token: ended, isHeard } = held.splice(at, 1)[0]!;
    const acquire = ops.find((op) => op.kind === "acquire" && op.token === ended) as Mutable<AcquireOp>;
    nowMs += random.between(0.1, 5);
    const calledMs = random.between(Math.max(nowMs - 3, acquire.returnedMs), nowMs);
    acquire.mayEndFromMs = calledMs;
    const returnedMs = isHeard ? nowMs + random.between(0, 20) : NEVER;
    const { client } = acquire;
    ops.push({ kind: "release", client, token: ended, calledMs, returnedMs, result: isHeard ? true : null });
  };
  while (token < 5 + random.int(20)) {
    const wants = ["a", "b", "c"]
      .filter(() => random.chance(0.5))
      .map((lock) =>
        lock === "c"
          ? { ...want(lock, "semaphore"), permits: 3, weight: 1 + random.int(3) }
          : want(lock, random.pick(["shared", "exclusive"])),
      );
    if (wants.length === 0) continue;
    while (!fitsIn(wants, held)) end(random.int(held.length));
    nowMs += random.between(0.1, 5);
    const returnedMs = nowMs + random.between(0, 4);
    const times = { calledMs: nowMs - random.between(0, 20), returnedMs, mayEndFromMs: NEVER };
    const client = `c${random.int(5)}`;
    ops.push({
      kind: "acquire",
      client,
      token: ++token,
      ...times,
      wants,
      detached: false,
      ticket: null,
      wasAway: false,
    });
    // It is heard of before anything else happens.
    nowMs = returnedMs;
    held = [...held, { token, wants, isHeard: random.chance(0.8) }];
  }
  return { lock: "a", ops, unheard: [] };
}

/** Plants a fault in two holds that do not fit together, one after the other; each must be found. */
function plantMixed(fault: (hold: Hold, later: Hold) => void): void {
  for (let seed = 1; seed <= HISTORIES; seed++) {
    const { lock, ops } = mixed(seed);
    const pairs = ops.flatMap((acquire) => {
      const release = ops.find(
        (op) => op.kind === "release" && acquire.kind === "acquire" && op.token === acquire.token,
      );
      return release === undefined ? [] : [{ acquire, release } as unknown as Hold];
    });
    const inTheWay = (a: Hold, b: Hold) =>
      a.acquire.token < b.acquire.token && !fitsIn(a.acquire.wants!, [{ wants: b.acquire.wants! }]);
    const all = pairs.flatMap((a) => pairs.filter((b) => inTheWay(a, b)).map((b) => [a, b] as const));
    if (all.length === 0) continue;
    const [hold, later] = new Random(seed).pick(all);
    fault(hold, later);
    expect(problemsOf({ lock, ops, unheard: [] }), `seed ${seed}`).not.toEqual([]);
  }
}

function fitsIn(wants: readonly Want[], held: readonly { readonly wants: readonly Want[] }[]): boolean {
  return wants.every((each) =>
    fit([each, ...held.flatMap((hold) => hold.wants.filter(({ lock }) => lock === each.lock))]),
  );
}

function want(lock: string, mode: Want["mode"]): Want {
  return { lock, mode, permits: 0, weight: 1 };
}

function wanted(op: AcquireOp, lock: string, mode: Want["mode"]): AcquireOp {
  return { ...op, wants: [want(lock, mode)] };
}

function sem(op: AcquireOp, permits: number, weight: number): AcquireOp {
  return { ...op, wants: [{ lock: "pool", mode: "semaphore", permits, weight }] };
}

function holdsOf({ ops }: LockHistory): Hold[] {
  const holds: Hold[] = [];
  for (let at = 0; at < ops.length; at += 2) {
    holds.push({ acquire: ops[at] as Mutable<AcquireOp>, release: ops[at + 1] as Mutable<ReleaseOp> });
  }
  return holds;
}

function problemsOf(history: LockHistory): readonly string[] {
  return historyProblems(history);
}

function granted(client: string, calledMs: number, returnedMs: number, token: number): AcquireOp {
  const rest = { detached: false, ticket: null, wasAway: false, mayEndFromMs: NEVER };
  return { kind: "acquire", client, calledMs, returnedMs, token, ...rest };
}

function released(
  client: string,
  token: number,
  calledMs: number,
  returnedMs: number,
  result: boolean,
): ReleaseOp {
  return { kind: "release", client, token, calledMs, returnedMs, result };
}

function unlock(client: string, calledMs: number, returnedMs: number, result: boolean): UnlockOp {
  return { kind: "unlock", client, calledMs, returnedMs, result };
}

function check(client: string, calledMs: number, returnedMs: number, result: boolean): CheckOp {
  return { kind: "check", client, calledMs, returnedMs, result };
}
