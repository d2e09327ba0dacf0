import { context, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Tracing as LazyTracing } from "../../src/client/tracing-lazy.js";
import { errorOf, realServer, wireTo } from "./real.js";

const real = realServer();
const exporter = new InMemorySpanExporter();
const started: ReadableSpan[] = [];
const starts: SpanProcessor = {
  onStart: (span) => void started.push(span as unknown as ReadableSpan),
  onEnd: () => {},
  forceFlush: async () => {},
  shutdown: async () => {},
};
const provider = new BasicTracerProvider({ spanProcessors: [starts, new SimpleSpanProcessor(exporter)] });
const tracer = provider.getTracer("a test");

beforeAll(() => void context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable()));
afterEach(() => exporter.reset());
afterAll(() => context.disable());

const traced = (owner: string, options = {}) => real.client({ tracer, owner, ...options });

/** The spans that have ended, of one kind, in the order in which they did. */
function spans(name: "lockdb wait" | "lockdb hold"): readonly ReadableSpan[] {
  return exporter.getFinishedSpans().filter((span) => span.name === name);
}

function facts({ attributes, status, events }: ReadableSpan) {
  const { "lockdb.outcome": outcome, "error.type": type } = attributes;
  return {
    outcome,
    type,
    isError: status.code === SpanStatusCode.ERROR,
    events: events.map(({ name }) => name),
  };
}

const FINE = { type: undefined, isError: false, events: [] };

describe("a client with a tracer", () => {
  test("[I6ya] tells of the wait and the hold, which what is done inside is a part of", async () => {
    const locker = traced("ann");
    const outer = tracer.startSpan("a request");
    const token = await context.with(trace.setSpan(context.active(), outer), () =>
      locker.withLock([real.name, { name: "db", permits: 3, weight: 2 }], async (lease) => {
        await locker.check(real.name);
        tracer.startSpan("work").end();
        return lease.token;
      }),
    );
    const [work, hold, wait] = ["work", "lockdb hold", "lockdb wait"].map(
      (name) => exporter.getFinishedSpans().find((span) => span.name === name)!,
    );
    expect(work!.parentSpanContext!.spanId).toBe(hold!.spanContext().spanId);
    expect(hold!.parentSpanContext!.spanId).toBe(wait!.spanContext().spanId);
    expect(wait!.parentSpanContext!.spanId).toBe(outer.spanContext().spanId);
    expect(hold!.links.map((link) => link.context.spanId)).toEqual([wait!.spanContext().spanId]);
    expect(wait!.kind).toBe(SpanKind.CLIENT);
    const asked = {
      "lockdb.service": "reports",
      "lockdb.lock.names": [real.name, "db"],
      "lockdb.lock.mode": "mixed",
    };
    expect(wait!.attributes).toEqual({ ...asked, "lockdb.outcome": "granted", "lockdb.token": token });
    expect(hold!.attributes).toEqual({ ...asked, "lockdb.outcome": "released", "lockdb.token": token });
  });

  test.each([
    [{}, "exclusive"],
    [{ mode: "shared" as const }, "shared"],
    [{ permits: 2 }, "semaphore"],
  ])("[I6yb] says how a lock is wanted: %o is %s", async (options, mode) => {
    const lease = await traced("ann").acquire(real.name, options);
    expect(spans("lockdb wait")[0]!.attributes).toMatchObject({ "lockdb.lock.mode": mode });
    expect(spans("lockdb hold")).toEqual([]);
    await lease.release();
    expect(facts(spans("lockdb hold")[0]!)).toEqual({ ...FINE, outcome: "released" });
  });

  test("[I6yc] links who waits to who holds, across clients", async () => {
    const [ann, bob] = [traced("ann"), traced("bob")];
    const held = await ann.acquire(real.name, { metadata: { job: 7 } });
    const [annsWait] = spans("lockdb wait");
    const { traceId, spanId } = annsWait!.spanContext();
    const [holder] = (await ann.inspect(real.name)).holders;
    expect(holder!.metadata).toEqual({ job: 7, traceparent: `00-${traceId}-${spanId}-01` });
    const waiting = bob.withLock(real.name, () => {});
    await expect.poll(async () => (await ann.inspect(real.name)).queueLength).toBe(1);
    await expect.poll(() => started.at(-1)!.links.length).toBe(1);
    await held.release();
    await waiting;
    const bobsWait = spans("lockdb wait")[1]!;
    expect(bobsWait.links).toEqual([
      {
        context: { traceId, spanId, traceFlags: 1, isRemote: true },
        attributes: { "lockdb.holder.token": held.token, "lockdb.holder.owner": "ann" },
      },
    ]);
    expect(bobsWait.attributes).toMatchObject({
      "lockdb.holder.token": held.token,
      "lockdb.holder.owner": "ann",
      "lockdb.ticket": expect.any(Number),
    });
  });

  test("[I6yd] a wait without the lock is an error, and links to the holder; one try that finds it taken is none", async () => {
    const ann = traced("ann");
    const held = await ann.acquire(real.name);
    const { spanId } = spans("lockdb wait")[0]!.spanContext();
    const bob = traced("bob");
    const error = await errorOf(bob.acquire(real.name, { wait: 5 }));
    expect(await bob.tryAcquire(real.name)).toBeNull();
    const reason = new Error("called off");
    await expect(bob.acquire(real.name, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await errorOf(bob.acquire(real.name, { permits: 3 }));
    const [, late, busy, aborted, refused] = spans("lockdb wait");
    expect(facts(late!)).toEqual({
      outcome: "timed_out",
      type: "LOCK_TIMEOUT",
      isError: true,
      events: ["exception"],
    });
    expect(late!.status.message).toBe(error.message);
    expect(late!.links.map((link) => link.context.spanId)).toEqual([spanId]);
    expect(facts(busy!)).toEqual({ ...FINE, outcome: "busy" });
    expect(facts(aborted!)).toEqual({ ...FINE, outcome: "aborted" });
    expect(facts(refused!)).toMatchObject({ outcome: "refused", type: "PERMITS_MISMATCH", isError: true });
    await held.release();
  });

  test("[I6ye] a hold that is lost, and work that fails, are errors of the hold", async () => {
    const wire = await wireTo(real.server.url);
    const ann = traced("ann", { serverUrl: wire.url, lease: "1s" });
    const lease = await ann.acquire(real.name);
    const mistake = new Error("of the work");
    await expect(ann.withLock("other", () => Promise.reject(mistake))).rejects.toBe(mistake);
    wire.close();
    await expect.poll(() => lease.signal.aborted, { timeout: 3_000 }).toBe(true);
    const [failed, lost] = spans("lockdb hold");
    expect(facts(failed!)).toEqual({
      outcome: "released",
      type: "Error",
      isError: true,
      events: ["exception"],
    });
    expect(facts(lost!)).toEqual({
      outcome: "lost",
      type: "LOCK_LOST",
      isError: true,
      events: ["exception"],
    });
  });

  test("[I6yf] says nothing of a hold whose end it does not see, and of an inner one once", async () => {
    const locker = traced("ann");
    await locker.lock(real.name);
    await locker.unlock(real.name);
    await locker.withLock("outer", async () => {
      await (await locker.acquire("outer", { reentrant: true })).release();
    });
    await locker.locks.request("web", () => {});
    const names = (span: ReadableSpan) => span.attributes["lockdb.lock.names"];
    expect(spans("lockdb wait").map(names)).toEqual([[real.name], ["outer"], ["outer"], ["web"]]);
    await expect.poll(() => spans("lockdb hold").map(names)).toEqual([["outer"], ["web"]]);
  });

  test("[I6yg] the caller's own traceparent stays, and so does metadata that leaves no room", async () => {
    const locker = traced("ann");
    const seen = async (metadata: Record<string, string>) => {
      const lease = await locker.acquire(real.name, { metadata });
      const { holders } = await locker.inspect(real.name);
      await lease.release();
      return holders[0]!.metadata;
    };
    const full = { text: "x".repeat(1_000) };
    expect(await seen(full)).toEqual(full);
    expect(await seen({ traceparent: "mine" })).toEqual({ traceparent: "mine" });
    // Whatever others say there, whoever waits for them gets on.
    const held = await locker.acquire(real.name, { metadata: { traceparent: `00-${"0".repeat(32)}-zz-01` } });
    await errorOf(traced("bob").acquire(real.name, { wait: 5 }));
    expect(spans("lockdb wait").at(-1)!.links).toEqual([]);
    await held.release();
  });

  test("[I6yh] what nobody records costs no message and no metadata", async () => {
    const idle = new BasicTracerProvider({
      sampler: { shouldSample: () => ({ decision: 0 }), toString: () => "none" },
    });
    const locker = real.client({ tracer: idle.getTracer("none") });
    await locker.withLock(real.name, async () => {
      expect((await locker.inspect(real.name)).holders[0]!.metadata).toEqual({});
    });
    expect(exporter.getFinishedSpans()).toEqual([]);
  });

  test("[I6yi] refuses what is no tracer", () => {
    for (const wrong of [null, {}, trace]) {
      expect(() => real.client({ tracer: wrong as never })).toThrow(/tracer is what trace.getTracer\(\)/);
    }
  });
});

describe("tracing in a browser", () => {
  test("[I6yj] is loaded when there is a tracer, and tells the same", async () => {
    const loaded = {
      ask: async () => ({ token: 7, ticket: undefined, onOver: () => {} }),
      runtime: { setTimer: () => ({ cancel: () => {} }) },
    };
    const lazy = new LazyTracing(tracer, loaded as never, "page");
    const terms = { names: "a", metadata: null, detachedMs: null } as never;
    expect(await lazy.withLock(terms, undefined, async ({ token }) => token)).toBe(7);
    expect((await lazy.acquire(terms, undefined)).token).toBe(7);
    expect(spans("lockdb wait").map((span) => span.attributes["lockdb.service"])).toEqual(["page", "page"]);
    expect(spans("lockdb hold")).toHaveLength(1);
  });

  test("[I6yk] that cannot be loaded is a ConnectionError of who asks", async () => {
    vi.doMock("../../src/client/tracing.js", () => {
      throw new Error("no such file");
    });
    const lazy = new LazyTracing(tracer, {} as never, "page");
    const error = await errorOf(lazy.acquire({} as never, undefined));
    vi.doUnmock("../../src/client/tracing.js");
    expect(error).toMatchObject({ code: "CONNECTION", cause: expect.any(Error) });
  });
});
