import { describe, expect, test } from "vitest";
import { Cancels } from "../../src/client/cancels.js";
import { ConnectionError, LockTimeoutError } from "../../src/client/errors.js";
import {
  AcquireRequest,
  type AcquireTerms,
  CallRequest,
  type FinalAnswer,
  ReleaseRequest,
} from "../../src/client/request.js";
import { terms } from "./script.js";

const at = (ms: number) => ({ monotonicMs: ms, wallMs: 1_000_000 + ms });

/** A request that writes down what comes of it. */
function requested(other: Partial<AcquireTerms> = {}, within: readonly number[] = [], signal?: AbortSignal) {
  const said: unknown[] = [];
  const request = new AcquireRequest(
    7,
    5_000,
    31_000,
    terms("disk", other),
    within,
    { granted: (_, answer) => said.push(answer), aborted: ({ id }) => said.push(`aborted ${id}`) },
    (lease) => said.push(lease),
    (reason) => said.push(reason),
    signal,
  );
  return { request, said };
}

describe("what a request says", () => {
  test("[Q3x] without terms of its own it is its name and what is left of its time", () => {
    expect(requested().request.message(1_000)).toEqual(["acquire", 7, "disk", 30_000]);
    expect(requested().request.message(30_999.5)).toEqual(["acquire", 7, "disk", 1]);
    expect(requested().request.message(40_000)).toEqual(["acquire", 7, "disk", 0]);
    const forever = requested({ waitMs: Number.POSITIVE_INFINITY }).request;
    expect(forever.message(1_000)).toEqual(["acquire", 7, "disk", null]);
    expect(forever.deadlineMs).toBe(36_000);
  });

  test.each([
    { detachedMs: 1_000 },
    { minHoldMs: 0 },
    { maxHoldMs: 3_000 },
    { metadata: { job: 1 } },
    { leads: true },
    { steal: true },
  ] as const)("[Q3y] each of its terms is said, and nothing else: %o", (extra) => {
    expect(requested(extra).request.message(1_000)).toEqual(["acquire", 7, "disk", 30_000, extra]);
  });

  test("[D3ie] that it may enter a hold again is said inside of one only", () => {
    expect(requested({ reentrant: true }).request.message(1_000)).toHaveLength(4);
    expect(requested({ reentrant: true, detachedMs: 9 }).request.message(0)[4]).toEqual({ detachedMs: 9 });
    const [, , , , extra] = requested({ reentrant: true }, [3]).request.message(1_000);
    expect(extra).toEqual({ within: [3], reentrant: true });
    expect(requested({}, [3]).request.message(1_000)[4]).toEqual({ within: [3] });
    const webhookUrl = "https://hooks.test/";
    expect(requested({ detachedMs: 1_000, webhookUrl }).request.message(0)[4]).toEqual({
      detachedMs: 1_000,
      webhookUrl,
    });
  });

  test("[R3xa] sent again after a place in the queue it names its ticket", () => {
    const { request } = requested();
    request.queued(12);
    expect(request.message(1_000)).toEqual(["acquire", 7, "disk", 30_000, { ticket: 12 }]);
  });

  test("[Q3z] why it was not answered in time is that nobody answers, or that nobody could be reached", () => {
    const acquire = requested().request;
    expect(acquire.outOfTime(null)).toBeInstanceOf(ConnectionError);
    expect(acquire.outOfTime(null).message).toContain("does not answer");
    const call = new CallRequest(
      1,
      0,
      (id) => ["bye", id],
      () => {},
      () => {},
    );
    expect(call.outOfTime(null)).toBeInstanceOf(LockTimeoutError);
    expect(call.outOfTime("refused")).toMatchObject({ message: expect.stringContaining("refused") });
  });
});

describe("when it cannot have been granted yet", () => {
  test("[L2ia] it is the first moment at which it was sent, whatever is renewed while nobody knows of it", () => {
    const { request } = requested();
    request.sent(at(100));
    request.sent(at(200));
    expect(request.grantedAfter(at(5_000))).toEqual(at(100));
  });

  test("[L2ib] it is the last renewal while it stands in the queue, and stays that when the connection is lost", () => {
    const { request } = requested();
    request.sent(at(100));
    request.queued(1);
    expect(request.grantedAfter(null)).toEqual(at(100));
    expect(request.grantedAfter(at(50))).toEqual(at(100));
    expect(request.grantedAfter(at(900))).toEqual(at(900));
    request.disconnected(at(900));
    request.sent(at(2_000));
    expect(request.grantedAfter(at(3_000))).toEqual(at(900));
  });

  test("[L2ic] another session begins anew, but for a detached hold, which outlives sessions", () => {
    const { request } = requested();
    request.sent(at(100));
    request.sessionEnded();
    request.disconnected(null);
    request.sent(at(700));
    expect(request.grantedAfter(null)).toEqual(at(700));
    const detached = requested({ detachedMs: 1_000 }).request;
    detached.sent(at(100));
    detached.sessionEnded();
    detached.sent(at(700));
    expect(detached.grantedAfter(null)).toEqual(at(100));
  });

  test("[L5ia] a short hold wants more heartbeats, down to twenty milliseconds, and one without an end none", () => {
    expect(requested().request.beatMs).toBe(Number.POSITIVE_INFINITY);
    expect(requested({ detachedMs: 2_000 }).request.beatMs).toBe((2_000 * 0.99 - 200) / 4);
    expect(requested({ maxHoldMs: 1_000 }).request.beatMs).toBe((1_000 * 0.99 - 200) / 4);
    expect(requested({ maxHoldMs: 100 }).request.beatMs).toBe(20);
  });
});

describe("how it ends", () => {
  test("[Q3ia] an abort is told at once, and one that comes after the answer is not heard", () => {
    const early = new AbortController();
    const asked = requested({}, [], early.signal);
    early.abort("enough");
    expect(asked.said).toEqual(["aborted 7", "enough"]);
    for (const end of ["settle", "fail"] as const) {
      const late = new AbortController();
      const { request, said } = requested({}, [], late.signal);
      if (end === "settle") request.settle(["refused", 7, "QUEUE_FULL", "It is full."]);
      else request.fail(new LockTimeoutError("late"));
      late.abort("enough");
      expect(said).toHaveLength(1);
    }
  });

  test("[Q10ia] a refusal is its error, and an answer of the wrong kind one that says so", () => {
    const { request, said } = requested();
    request.settle(["granted", 7, 3]);
    request.settle(["refused", 7, "QUEUE_FULL", "It is full."]);
    request.settle(["done", 7, true]);
    expect(said).toMatchObject([["granted", 7, 3], { code: "QUEUE_FULL" }, { code: "INTERNAL" }]);
  });

  test("[Q8ia] a release is true, or false when there was nothing, and is over in each case", () => {
    const ends = (end: FinalAnswer | Error) => {
      const said: unknown[] = [];
      const lease = { over: () => said.push("over") };
      const keep = (value: unknown) => said.push(value);
      const request = new ReleaseRequest(7, 0, 3, null, lease as never, keep, keep);
      if (end instanceof Error) request.fail(end as never);
      else request.settle(end);
      return said;
    };
    const broken = new LockTimeoutError("late");
    expect(ends(["done", 7, true])).toEqual(["over", true]);
    expect(ends(["done", 7, false])).toEqual(["over", false]);
    expect(ends(["refused", 7, "NOT_HELD", "-"])).toEqual(["over", false]);
    expect(ends(["refused", 7, "RECOVERING", "-"])).toMatchObject(["over", { code: "RECOVERING" }]);
    expect(ends(["granted", 7, 1])).toMatchObject(["over", { code: "INTERNAL" }]);
    expect(ends(broken)).toEqual(["over", broken]);
  });
});

describe("requests that were given up", () => {
  test("[Q7ia] each cancel is waited for, and a token that was heard once is said ever after", () => {
    const cancels = new Cancels();
    expect(cancels.add(4, null)).toEqual(["cancel", 4]);
    expect(cancels.add(4, 9)).toEqual(["cancel", 4, 9]);
    expect(cancels.add(4, null)).toEqual(["cancel", 4, 9]);
    cancels.answered(4);
    cancels.answered(4);
    cancels.answered(5);
    expect({ has: cancels.has(4), size: cancels.size }).toEqual({ has: true, size: 1 });
    cancels.answered(4);
    expect({ has: cancels.has(4), size: cancels.size }).toEqual({ has: false, size: 0 });
  });

  test("[Q7ib] a new connection says each once, and waits for one answer", () => {
    const cancels = new Cancels();
    cancels.add(4, null);
    cancels.add(4, null);
    cancels.add(5, 9);
    expect(cancels.again()).toEqual([
      ["cancel", 4],
      ["cancel", 5, 9],
    ]);
    cancels.answered(4);
    expect(cancels.has(4)).toBe(false);
    cancels.clear();
    expect(cancels.size).toBe(0);
  });
});
