import { contextHeader, DeadlockError, LockDBError, withContext } from "lockdb";
import { describe, expect, test } from "vitest";
import { errorOf, realServer } from "./real.js";

const real = realServer();

describe("the header lockdb-context", () => {
  test("[D1e] is empty when nothing is held, and names service and tokens of what is", async () => {
    const locker = real.client();
    expect(contextHeader()).toBe("");
    await locker.withLock(`${real.name} a`, (outer) =>
      locker.withLock(`${real.name} b`, (inner) => {
        expect(contextHeader()).toBe(`reports=${outer.token}.${inner.token}`);
      }),
    );
    expect(contextHeader()).toBe("");
  });

  test("[D1f] carries the holds around a call to another process", async () => {
    const [caller, called] = [real.client(), real.client()];
    // As in two processes: what the caller holds is known by the header alone.
    const lease = await caller.acquire(real.name);
    const header = `reports=${lease.token}`;
    const error = await withContext(header, () => errorOf(called.acquire(real.name)));
    expect(error).toBeInstanceOf(DeadlockError);
    await withContext([header], () =>
      called.withLock(real.name, { reentrant: true }, ({ token }) => {
        expect(token).toBe(lease.token);
        expect(contextHeader()).toBe(header);
      }),
    );
    await lease.release();
  });

  test("[D1l] of a lease from acquire the header is told by that lease", async () => {
    const locker = real.client();
    const lease = await locker.acquire(real.name);
    expect(contextHeader(lease)).toBe(`reports=${lease.token}`);
    await locker.withLock(`${real.name} b`, { within: lease }, (inner) => {
      expect(contextHeader(lease)).toBe(`reports=${lease.token}.${inner.token}`);
    });
    expect(() => contextHeader({} as never)).toThrow(/within is a lease/);
    await lease.release();
  });

  test("[D1g] of another service's holds a service knows nothing", async () => {
    const locker = real.client();
    const lease = await locker.acquire(real.name);
    const late = withContext(`other=${lease.token}`, () => errorOf(locker.acquire(real.name, { wait: 20 })));
    expect(await late).toMatchObject({ code: "LOCK_TIMEOUT" });
    await lease.release();
  });

  test("[D1h] nothing is no context, and several headers are one", () => {
    for (const none of [undefined, null, "", "  ", []]) expect(withContext(none, () => 7)).toBe(7);
    withContext(["a=1.2", "b-c=3"], () => expect(contextHeader()).toBe("a=1.2,b-c=3"));
    withContext("a=1, a=2", () => expect(contextHeader()).toBe("a=1.2"));
  });

  for (const bad of [
    "x",
    "a=",
    "a=1.",
    "=1",
    "a=0",
    "a=-1",
    "a=1;b=2",
    "a b=1",
    `a=${"9".repeat(17)}`,
    "a=1,,",
  ]) {
    test(`[D1i] ${JSON.stringify(bad)} is INVALID, and nothing is run`, () => {
      expect(() => withContext(bad, () => expect.unreachable())).toThrow(LockDBError);
    });
  }

  test("[D1j] of very many holds the innermost sixty-four are told", () => {
    const tokens = Array.from({ length: 70 }, (_, n) => n + 1);
    withContext(`a=${tokens.join(".")}`, () => {
      expect(contextHeader()).toBe(`a=${tokens.slice(6).join(".")}`);
    });
  });
});
