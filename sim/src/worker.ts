import { LockDBError } from "../../packages/lockdb/dist/client/errors.js";
import type { HeldLease } from "../../packages/lockdb/dist/client/lease.js";
import type { AcquireTerms } from "../../packages/lockdb/dist/client/request.js";
import { trustedMs } from "../../packages/lockdb/dist/client/trust.js";
import type { Belief } from "./beliefs.js";
import type { Life } from "./client-host.js";
import { WORK_KINDS, type WorkKind } from "./plan.js";
import type { Shared } from "./shared.js";

/** Refusals that a caller must expect. Any other is a mistake of client or server. */
const EXPECTED = new Set(["LOCK_TIMEOUT", "RECOVERING", "CONNECTION", "UNAVAILABLE", "CLOSED"]);

const CALL_MS = 5_000;
const IDLE_MS = 5;

/** Does what a user of the client does, one thing after the other, until the run comes to its end. */
export async function work(life: Life, shared: Shared): Promise<void> {
  const { world, plan } = shared;
  const { random } = world;
  while (!shared.draining && !life.isClosed) {
    await life.process.sleep(random.span(IDLE_MS, IDLE_MS + plan.work.thinkMsMax));
    if (shared.draining || life.isClosed) return;
    const lock = random.pick(plan.locks.filter((name) => name.startsWith(life.service)));
    shared.busy++;
    const busy = shared.busyOf(life);
    busy.add(lock);
    try {
      await doOne(life, shared, lock, kindOf(shared));
    } finally {
      busy.delete(lock);
    }
  }
}

function kindOf({ plan, world }: Shared): WorkKind {
  const { weights } = plan.work;
  const total = WORK_KINDS.reduce((sum, kind) => sum + weights[kind], 0);
  let at = world.random.next() * total;
  for (const kind of WORK_KINDS) {
    at -= weights[kind];
    if (at < 0) return kind;
  }
  return "acquire";
}

async function doOne(life: Life, shared: Shared, lock: string, kind: WorkKind): Promise<void> {
  const { random } = shared.world;
  const { waitMsMax } = shared.plan.work;
  switch (kind) {
    case "acquire": {
      const waitMs = random.chance(0.2) ? Number.POSITIVE_INFINITY : Math.ceil(random.span(1, waitMsMax));
      return acquire(life, shared, termsOf(shared, lock, waitMs, null));
    }
    case "tryAcquire":
      return acquire(life, shared, termsOf(shared, lock, 0, null));
    case "detached": {
      const waitMs = random.chance(0.5) ? 0 : Math.ceil(random.span(1, waitMsMax));
      const detachedMs = Math.ceil(random.span(250, shared.plan.work.detachedMsMax));
      return acquire(life, shared, termsOf(shared, lock, waitMs, detachedMs));
    }
    case "unlock":
      return unlock(life, shared, lock);
    case "check":
      return check(life, shared, lock);
    case "steal":
      return steal(life, shared, lock);
    case "force":
      return force(life, shared, lock);
    case "inspect":
      await settled(life, shared, lock, () => life.session.call(CALL_MS, (id) => ["inspect", id, lock]));
  }
}

function termsOf(
  { plan, world }: Shared,
  name: string,
  waitMs: number,
  detachedMs: number | null,
): AcquireTerms {
  const { random } = world;
  const { minHoldChance, maxHoldChance, holdMsMax } = plan.work;
  return {
    name,
    waitMs,
    detachedMs,
    minHoldMs: random.chance(minHoldChance) ? Math.ceil(random.span(1, plan.leaseMs)) : null,
    maxHoldMs:
      detachedMs === null && random.chance(maxHoldChance)
        ? Math.ceil(random.span(250, 1_250 + holdMsMax))
        : null,
    metadata: null,
  };
}

async function acquire(life: Life, shared: Shared, terms: AcquireTerms): Promise<void> {
  const { world, plan, recorder } = shared;
  const calledMs = world.nowMs;
  const connects = life.connects;
  const heard = terms.detachedMs === null ? null : recorder.addUnheard(terms.name, life.id);
  const say = (text: () => string) => world.story.note(terms.name, life.id, text);
  say(
    () =>
      `asks for ${terms.name}, waits ${terms.waitMs}${terms.detachedMs === null ? "" : `, detached ${terms.detachedMs}`}`,
  );
  const controller = new AbortController();
  if (world.random.chance(plan.work.abortChance)) {
    const ms = world.random.span(0.1, plan.work.waitMsMax);
    life.process.setTimer(() => controller.abort(new Error("given up")), ms);
  }
  const outcome = await settled(life, shared, terms.name, () =>
    life.session.acquire(terms, controller.signal),
  );
  if (outcome === null) return;
  const lease = outcome;
  const returnedMs = life.process.localMs;
  // A grant that came too late is given back and asked for again: nobody heard of the first.
  if (terms.detachedMs !== null && returnedMs - calledMs < terms.detachedMs / 2) heard!();
  say(() => `has ${terms.name} with token ${lease.token}, for ${lease.remainingMs} ms`);
  if (terms.detachedMs === null) {
    shared.sessionTokens.set(terms.name, lease.token);
    shared.ownTokens(life).add(lease.token);
  }
  const belief = believe(life, shared, lease, calledMs);
  const wasAway = life.connects !== connects;
  recorder.add(terms.name, () => ({
    kind: "acquire",
    client: life.id,
    calledMs,
    returnedMs,
    token: lease.token,
    detached: terms.detachedMs !== null,
    ticket: lease.ticket ?? null,
    wasAway,
    mayEndFromMs: Math.min(belief.lastSeenMs, shared.forcedMs(terms.name, lease.token)),
  }));
  await hold(life, shared, lease);
  if (terms.detachedMs !== null && world.random.chance(0.3) && !shared.draining) {
    shared.detachedTokens.push({ service: life.service, lock: terms.name, token: lease.token });
    return;
  }
  await release(life, shared, lease);
}

function believe(life: Life, shared: Shared, lease: HeldLease, calledMs: number): Belief {
  const { world, watch } = shared;
  const { name: lock, detachedMs, maxHoldMs } = lease.terms;
  const isFreed = () => detachedMs !== null && !watch.detached.stands(life.service, lease.token);
  const isHeld = () => lease.isHeld && !isFreed() && lease.remainingMs > 0;
  const isOver = () => {
    if (!lease.isHeld || isFreed()) return true;
    // A dead client's clocks still say how long the server must keep its promise.
    return !life.process.alive && !world.observing && !observed(shared, isHeld);
  };
  const belief: Belief = {
    lock,
    token: lease.token,
    who: life.id,
    isHeld,
    isOver,
    isForced: () => watch.endings.isForced(life.service, lease.token, life.heardMs),
    wasForced: () => shared.forcedMs(lock, lease.token) !== Number.POSITIVE_INFINITY,
    lastSeenMs: world.nowMs,
    mayReturn: detachedMs !== null,
  };
  shared.beliefs.add(belief);
  lease.signal.addEventListener("abort", () => {
    const reason = (lease.signal.reason as Error).message;
    world.story.note(lock, life.id, () => `loses token ${lease.token}: ${reason}`);
    if (detachedMs === null && !/was closed|by force/.test(reason)) shared.beliefs.lost(belief);
    if (shared.plan.wildClocks || !/the server ended/.test(reason)) return;
    // By its own clocks, which may have passed its own end before any timer fired.
    const elapsedMs = (life.process.localMs - calledMs) * shared.plan.rateMax;
    const ownMs = maxHoldMs === null ? Number.POSITIVE_INFINITY : trustedMs(maxHoldMs) - elapsedMs - 1;
    const restMs = Math.min(
      observed(shared, () => life.session.sessionRemainingMs()),
      ownMs,
    );
    if (restMs > 0)
      world.violate(
        "R3",
        `${life.id} loses ${lock} (token ${lease.token}) with ${restMs} ms left: ${reason}`,
        lock,
      );
  });
  return belief;
}

function observed<T>({ world }: Shared, read: () => T): T {
  world.observing = true;
  const value = read();
  world.observing = false;
  return value;
}

/** Holds for a while, or until it is lost; meanwhile updates what the lock protects. */
async function hold(life: Life, shared: Shared, lease: HeldLease): Promise<void> {
  const { world, plan, registers } = shared;
  const { name } = lease.terms;
  const before = registers.read(name, lease.token);
  const ms = shared.draining ? 1 : world.random.span(1, plan.work.holdMsMax);
  await Promise.race([
    life.process.sleep(ms),
    new Promise((resolve) => lease.signal.addEventListener("abort", resolve)),
  ]);
  if (before !== null) registers.write(name, lease.token, before + 1);
}

async function release(life: Life, shared: Shared, lease: HeldLease): Promise<void> {
  const { world, recorder } = shared;
  const { name } = lease.terms;
  // A lost lease answers by itself: that says nothing of the server.
  const asks = lease.isHeld;
  const span = {
    calledMs: world.nowMs,
    returnedMs: Number.POSITIVE_INFINITY,
    result: null as boolean | null,
  };
  if (asks) {
    recorder.add(name, () => ({ kind: "release", client: life.id, token: lease.token, ...span }));
    world.story.note(name, life.id, () => `releases token ${lease.token}`);
  }
  const result = await settled(life, shared, name, () => lease.release());
  if (!asks || result === null) return;
  span.result = result;
  span.returnedMs = life.process.localMs;
  if (result && lease.terms.detachedMs !== null) shared.watch.detached.over(life.service, lease.token);
  world.story.note(
    name,
    life.id,
    () => `hears that token ${lease.token} was ${result ? "released" : "over"}`,
  );
}

async function unlock(life: Life, shared: Shared, lock: string): Promise<void> {
  const { world, recorder } = shared;
  const span = {
    calledMs: world.nowMs,
    returnedMs: Number.POSITIVE_INFINITY,
    result: null as boolean | null,
  };
  const at = shared.detachedTokens.findIndex((entry) => entry.lock === lock);
  if (at !== -1 && world.random.chance(0.5)) {
    const { token } = shared.detachedTokens.splice(at, 1)[0]!;
    recorder.add(lock, () => ({ kind: "release", client: life.id, token, ...span }));
    world.story.note(lock, life.id, () => `releases detached token ${token}`);
    const result = await settled(life, shared, lock, () => life.session.releaseAny(token, lock));
    if (result === null) return;
    if (result) shared.watch.detached.over(life.service, token);
    Object.assign(span, { result, returnedMs: life.process.localMs });
    return;
  }
  let isRefused = false;
  recorder.add(lock, () => (isRefused ? null : { kind: "unlock", client: life.id, ...span }));
  world.story.note(lock, life.id, () => `unlocks ${lock}`);
  const result = await settled(
    life,
    shared,
    lock,
    () => life.session.call(CALL_MS, (id) => ["unlock", id, lock]),
    {
      // A session has it, or what remains of a minimum hold.
      NOT_HELD: () => {
        isRefused = true;
      },
    },
  );
  if (result !== null) Object.assign(span, { result, returnedMs: life.process.localMs });
}

/** Releases what somebody else holds, or held: only its own session may (L9). */
async function steal(life: Life, shared: Shared, lock: string): Promise<void> {
  const token = shared.sessionTokens.get(lock);
  if (token === undefined || shared.ownTokens(life).has(token)) return;
  shared.world.story.note(lock, life.id, () => `tries to release token ${token} of somebody else`);
  const result = await settled(life, shared, lock, () => life.session.releaseAny(token, lock));
  if (result)
    shared.world.violate(
      "L9",
      `${life.id} has released token ${token} of ${lock}, which is not its own`,
      lock,
    );
}

/** Takes a lock away from whoever was seen to hold it, as an operator does. */
async function force(life: Life, shared: Shared, lock: string): Promise<void> {
  const token = shared.sessionTokens.get(lock);
  if (token === undefined) return;
  shared.forcedFrom(lock, token);
  shared.world.story.note(lock, life.id, () => `frees token ${token} by force`);
  await settled(
    life,
    shared,
    lock,
    () => life.session.call(CALL_MS, (id) => ["force", id, lock, token, "simulated"]),
    {
      NOT_HELD: () => {},
    },
  );
}

async function check(life: Life, shared: Shared, lock: string): Promise<void> {
  const calledMs = shared.world.nowMs;
  const result = await settled(life, shared, lock, () =>
    life.session.call(CALL_MS, (id) => ["check", id, lock, CALL_MS]),
  );
  if (result === null) return;
  const returnedMs = life.process.localMs;
  shared.recorder.add(lock, () => ({
    kind: "check",
    client: life.id,
    calledMs,
    returnedMs,
    result: result as boolean,
  }));
}

/** The value, or null after a refusal that a caller must expect. */
async function settled<T>(
  life: Life,
  { world }: Shared,
  lock: string,
  call: () => Promise<T>,
  also: Readonly<Record<string, () => void>> = {},
): Promise<T | null> {
  try {
    return await call();
  } catch (error) {
    const { code, message } = error as LockDBError;
    world.story.note(lock, life.id, () => `is told ${code ?? ""} ${message}`);
    if (error instanceof LockDBError && Object.hasOwn(also, code)) also[code]!();
    else if (error instanceof LockDBError && !EXPECTED.has(code)) {
      world.violate("Q10", `${life.id} is told ${code}: ${message}`, lock);
    } else if (!(error instanceof LockDBError) && message !== "given up") {
      world.violate("Q10", `${life.id}: ${(error as Error).stack}`, lock);
    }
    return null;
  }
}
