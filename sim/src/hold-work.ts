import type { EnclosingHold } from "../../packages/lockdb/dist/client/context.js";
import { HeldLease, type OwnLease } from "../../packages/lockdb/dist/client/lease.js";
import { type AcquireTerms, PLAIN_TERMS } from "../../packages/lockdb/dist/client/request.js";
import { trustedMs } from "../../packages/lockdb/dist/client/trust.js";
import type { LockNames, LockPage } from "../../packages/lockdb/dist/protocol/messages.js";
import type { Belief } from "./beliefs.js";
import { observed, settled } from "./calls.js";
import type { Life } from "./client-host.js";
import { HOOK_URL } from "./deliveries.js";
import { locksOf, type Want, wantsOf } from "./modes.js";
import { namesFor, namesInside } from "./names.js";
import type { Shared } from "./shared.js";

const CALL_MS = 5_000;
/** Holds inside of holds. */
const DEPTH_MAX = 3;

export function termsOf(
  life: Life,
  shared: Shared,
  lock: string,
  waitMs: number,
  detachedMs: number | null,
): AcquireTerms {
  const { plan, world } = shared;
  const { random } = world;
  const { minHoldChance, maxHoldChance, holdMsMax } = plan.work;
  return {
    ...PLAIN_TERMS,
    names: namesFor(shared, life.service, lock),
    waitMs,
    detachedMs,
    webhookUrl: detachedMs !== null && detachedMs % 2 === 0 ? HOOK_URL : null,
    minHoldMs: random.chance(minHoldChance) ? Math.ceil(random.span(1, plan.leaseMs)) : null,
    maxHoldMs:
      detachedMs === null && random.chance(maxHoldChance)
        ? Math.ceil(random.span(250, 1_250 + holdMsMax))
        : null,
  };
}

/** Asks, holds for a while, and gives back. @param depth how many holds it is done inside of */
export async function acquire(life: Life, shared: Shared, terms: AcquireTerms, depth = 0): Promise<void> {
  const { world, plan } = shared;
  const { detachedMs } = terms;
  const locks = locksOf(wantsOf(terms.names));
  const calledMs = world.nowMs;
  const connects = life.connects;
  const heard = detachedMs === null ? null : shared.recorder.addUnheard(locks[0]!, life.id);
  const say = (text: () => string) => world.story.note(locks, life.id, text);
  say(() => `asks for ${wordsOf(terms)}`);
  const controller = new AbortController();
  if (world.random.chance(plan.work.abortChance)) {
    const ms = world.random.span(0.1, plan.work.waitMsMax);
    life.process.setTimer(() => controller.abort(new Error("given up")), ms);
  }
  const lease = await settled(
    life,
    shared,
    locks,
    () => life.session.acquire(terms, controller.signal),
    mayBeRefused(shared, terms),
  );
  if (lease === null) return;
  if (!(lease instanceof HeldLease)) return again(life, shared, terms, lease);
  const returnedMs = life.process.localMs;
  // A grant that came too late is given back and asked for again: nobody heard of the first.
  if (detachedMs !== null && returnedMs - calledMs < detachedMs / 2) heard!();
  say(() => `has ${locks.join(" and ")} with token ${lease.token}, for ${lease.remainingMs} ms`);
  note(life, shared, lease, { calledMs, returnedMs, wasAway: life.connects !== connects });
  const live = { service: life.service, token: lease.token };
  shared.leases.add(live);
  await hold(life, shared, lease, depth);
  shared.leases.delete(live);
  if (detachedMs !== null && world.random.chance(0.3) && !shared.draining) {
    shared.detachedTokens.push({ service: life.service, lock: locks[0]!, token: lease.token });
    return;
  }
  await release(life, shared, lease);
}

/** Takes a lock by force from whoever holds it, and before all who wait. */
export async function steal(life: Life, shared: Shared, lock: string): Promise<void> {
  const attempt = { calledMs: shared.world.nowMs, returnedMs: Number.POSITIVE_INFINITY };
  shared.steals.set(lock, [...(shared.steals.get(lock) ?? []), attempt]);
  const terms = { ...PLAIN_TERMS, names: lock, waitMs: CALL_MS, steal: true };
  await acquire(life, shared, terms);
}

/** All locks of the service, page by page. @returns null when the list could not be brought to its end */
export async function list(life: Life, shared: Shared): Promise<readonly string[] | null> {
  const locks: string[] = [];
  let next: string | undefined;
  for (;;) {
    const query = { limit: 1 + shared.world.random.int(2), ...(next === undefined ? {} : { next }) };
    const call = () => life.session.call(CALL_MS, (id) => ["list", id, query]);
    const page = (await settled(life, shared, null, call, { NOT_FOUND: () => {} })) as LockPage | null;
    if (page === null) return null;
    locks.push(...page.locks.map(({ name }) => name));
    if (page.next === null) return locks;
    next = page.next;
  }
}

/** What an operation leaves behind: beliefs, and its place in the history. */
function note(
  life: Life,
  shared: Shared,
  lease: HeldLease,
  { calledMs, returnedMs, wasAway }: { calledMs: number; returnedMs: number; wasAway: boolean },
): void {
  const { detachedMs, names } = lease.terms;
  const wants = wantsOf(names);
  if (detachedMs === null) {
    for (const { lock } of wants) shared.sessionTokens.set(lock, lease.token);
    shared.ownTokens(life).add(lease.token);
  }
  const beliefs = believe(life, shared, lease, wants, calledMs);
  shared.recorder.add(locksOf(wants), () => ({
    kind: "acquire",
    client: life.id,
    calledMs,
    returnedMs,
    wants,
    token: lease.token,
    detached: detachedMs !== null,
    ticket: lease.ticket ?? null,
    wasAway,
    mayEndFromMs: Math.min(
      ...beliefs.map(({ lastSeenMs, lock }) =>
        Math.min(lastSeenMs, shared.forcedMs(lock, lease.token, calledMs)),
      ),
    ),
  }));
}

function believe(
  life: Life,
  shared: Shared,
  lease: HeldLease,
  wants: readonly Want[],
  calledMs: number,
): readonly Belief[] {
  const { world, watch } = shared;
  const { detachedMs, maxHoldMs } = lease.terms;
  const isFreed = () => detachedMs !== null && !watch.detached.stands(life.service, lease.token);
  const isHeld = () => lease.isHeld && !isFreed() && lease.remainingMs > 0;
  const isOver = () => {
    if (!lease.isHeld || isFreed()) return true;
    // A dead client's clocks still say how long the server must keep its promise.
    return !life.process.alive && !world.observing && !observed(shared, isHeld);
  };
  const beliefs = wants.map((want): Belief => {
    const { lock } = want;
    const belief: Belief = {
      lock,
      want,
      token: lease.token,
      who: life.id,
      isHeld,
      isOver,
      isForced: () => watch.endings.isForced(life.service, lease.token, life.heardMs),
      wasForced: () =>
        wants.some((each) => shared.forcedMs(each.lock, lease.token, calledMs) < Number.POSITIVE_INFINITY),
      lastSeenMs: world.nowMs,
      mayReturn: detachedMs !== null,
    };
    shared.beliefs.add(belief);
    return belief;
  });
  const locks = locksOf(wants);
  lease.signal.addEventListener("abort", () => {
    const reason = (lease.signal.reason as Error).message;
    world.story.note(locks, life.id, () => `loses token ${lease.token}: ${reason}`);
    if (detachedMs === null && !/was closed|by force/.test(reason)) {
      for (const belief of beliefs) shared.beliefs.lost(belief);
    }
    if (shared.plan.wildClocks || !/the server ended/.test(reason)) return;
    // By its own clocks, which may have passed its own end before any timer fired.
    const elapsedMs = (life.process.localMs - calledMs) * shared.plan.rateMax;
    const ownMs = maxHoldMs === null ? Number.POSITIVE_INFINITY : trustedMs(maxHoldMs) - elapsedMs - 1;
    const restMs = Math.min(
      observed(shared, () => life.session.remainingMs),
      ownMs,
    );
    if (restMs <= 0) return;
    const text = `${life.id} loses ${locks} (token ${lease.token}) with ${restMs} ms left: ${reason}`;
    world.violate("R3", text, locks);
  });
  return beliefs;
}

/** Holds for a while, or until it is lost; meanwhile updates what the locks protect, and asks for more. */
async function hold(life: Life, shared: Shared, lease: HeldLease, depth: number): Promise<void> {
  const { world, plan, registers } = shared;
  const { random } = world;
  const before = wantsOf(lease.terms.names)
    // Who shares a lock does not write.
    .filter(({ mode }) => mode === "exclusive")
    .map(({ lock }) => ({ lock, value: registers.read(lock, lease.token) }));
  const ms = shared.draining ? 1 : random.span(1, plan.work.holdMsMax);
  await Promise.race([
    life.process.sleep(ms),
    new Promise((resolve) => lease.signal.addEventListener("abort", resolve)),
  ]);
  if (!shared.draining && random.chance(plan.work.listChance)) await listInside(life, shared, lease);
  if (!shared.draining && depth < DEPTH_MAX && random.chance(plan.work.nestChance)) {
    await acquire(life, shared, termsInside(life, shared, lease), depth + 1);
  }
  for (const { lock, value } of before) {
    if (value !== null) registers.write(lock, lease.token, value + 1);
  }
}

/** What is asked inside of a hold: more, or once more what it has. */
function termsInside(life: Life, shared: Shared, lease: OwnLease & HeldLease): AcquireTerms {
  const { plan, world } = shared;
  const { random } = world;
  const { reentrantChance, foreignChance, waitMsMax } = plan.work;
  const reentrant = random.chance(reentrantChance);
  const others = [...shared.leases].filter(
    ({ service, token }) => service === life.service && token !== lease.token,
  );
  // As it comes with a call of another service, which holds something, too.
  const foreign: readonly EnclosingHold[] =
    others.length > 0 && random.chance(foreignChance)
      ? [{ ...random.pick(others), servers: null, lease: null }]
      : [];
  return {
    ...PLAIN_TERMS,
    names: reentrant
      ? namesInside(shared, lease.terms.names)
      : namesFor(shared, life.service, lockInside(life, shared, lease)),
    waitMs: random.chance(0.3) ? Number.POSITIVE_INFINITY : Math.ceil(random.span(1, waitMsMax)),
    enclosing: [...lease.enclosing, ...foreign],
    reentrant,
  };
}

/** Mostly another than it has: of those it would wait for itself. */
function lockInside(life: Life, { plan, world: { random } }: Shared, lease: HeldLease): string {
  const all = plan.locks.filter((name) => name.startsWith(life.service));
  const own = new Set(locksOf(wantsOf(lease.terms.names)));
  const others = all.filter((name) => !own.has(name));
  return random.pick(others.length > 0 && random.chance(0.9) ? others : all);
}

/** A lock that the same hold has already: its release frees nothing (D3). */
async function again(life: Life, shared: Shared, terms: AcquireTerms, lease: OwnLease): Promise<void> {
  const { world } = shared;
  const locks = locksOf(wantsOf(terms.names));
  world.story.note(locks, life.id, () => `has token ${lease.token} again`);
  if (!terms.enclosing.some(({ token }) => token === lease.token)) {
    world.violate("D3", `${life.id} is granted token ${lease.token} again, which is not around it`, locks);
  }
  const ms = shared.draining ? 1 : world.random.span(1, shared.plan.work.holdMsMax);
  await life.process.sleep(ms);
  await lease.release();
}

async function listInside(life: Life, shared: Shared, lease: HeldLease): Promise<void> {
  const { watch, world } = shared;
  const engine = watch.engineOf(life.service);
  const isSure = () =>
    observed(shared, () => lease.isHeld && lease.remainingMs > 0) && watch.engineOf(life.service) === engine;
  if (!isSure() || lease.terms.detachedMs !== null) return;
  const found = await list(life, shared);
  if (found === null || !isSure()) return;
  for (const lock of locksOf(wantsOf(lease.terms.names))) {
    const count = found.filter((name) => name === lock).length;
    if (count === 1 || watch.endings.isForced(life.service, lease.token, life.heardMs)) continue;
    world.violate("Q9", `${lock} is held and listed ${count} times: ${found.join(", ")}`, lock);
  }
}

async function release(life: Life, shared: Shared, lease: HeldLease): Promise<void> {
  const { world, recorder } = shared;
  const locks = locksOf(wantsOf(lease.terms.names));
  // A lost lease answers by itself: that says nothing of the server.
  const asks = lease.isHeld;
  const span = {
    calledMs: world.nowMs,
    returnedMs: Number.POSITIVE_INFINITY,
    result: null as boolean | null,
  };
  if (asks) {
    recorder.add(locks, () => ({ kind: "release", client: life.id, token: lease.token, ...span }));
    world.story.note(locks, life.id, () => `releases token ${lease.token}`);
  }
  const result = await settled(life, shared, locks, () => lease.release());
  if (!asks || result === null) return;
  span.result = result;
  span.returnedMs = life.process.localMs;
  if (result && lease.terms.detachedMs !== null) shared.watch.detached.over(life.service, lease.token);
  world.story.note(
    locks,
    life.id,
    () => `hears that token ${lease.token} was ${result ? "released" : "over"}`,
  );
}

/** Refusals that this request must expect besides. */
function mayBeRefused(
  { plan }: Shared,
  { enclosing, reentrant }: AcquireTerms,
): Readonly<Record<string, () => void>> {
  const { strangeChance, weights } = plan.work;
  const isMixed = strangeChance > 0 || plan.permits.size > 0;
  return {
    ...(enclosing.length > 0 ? { DEADLOCK: () => {} } : {}),
    ...(isMixed ? { PERMITS_MISMATCH: () => {} } : {}),
    // It was granted, and stolen before that was heard of; or the hold that has it was lost.
    ...(weights.steal > 0 || reentrant ? { LOCK_LOST: () => {} } : {}),
  };
}

function wordsOf({ names, waitMs, detachedMs, enclosing, reentrant, steal }: AcquireTerms): string {
  return [
    wordsOfNames(names),
    `waits ${waitMs}`,
    ...(detachedMs === null ? [] : [`detached ${detachedMs}`]),
    ...(enclosing.length === 0 ? [] : [`inside of ${enclosing.map(({ token }) => token)}`]),
    ...(reentrant ? ["reentrant"] : []),
    ...(steal ? ["by force"] : []),
  ].join(", ");
}

function wordsOfNames(names: LockNames): string {
  return wantsOf(names)
    .map(({ lock, mode, permits, weight }) =>
      mode === "exclusive" ? lock : `${lock} ${permits > 0 ? `${weight}/${permits}` : mode}`,
    )
    .join(" and ");
}
