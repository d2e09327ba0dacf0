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
