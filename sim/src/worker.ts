import { settled } from "./calls.js";
import type { Life } from "./client-host.js";
import { acquire, steal, termsOf } from "./hold-work.js";
import { WORK_KINDS, type WorkKind } from "./plan.js";
import type { Shared } from "./shared.js";

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
      return acquire(life, shared, termsOf(life, shared, lock, waitMs, null));
    }
    case "tryAcquire":
      return acquire(life, shared, termsOf(life, shared, lock, 0, null));
    case "detached": {
      const waitMs = random.chance(0.5) ? 0 : Math.ceil(random.span(1, waitMsMax));
      const detachedMs = Math.ceil(random.span(250, shared.plan.work.detachedMsMax));
      return acquire(life, shared, termsOf(life, shared, lock, waitMs, detachedMs));
    }
    case "unlock":
      return unlock(life, shared, lock);
    case "check":
      return check(life, shared, lock);
    case "intrude":
      return intrude(life, shared, lock);
    case "steal":
      return steal(life, shared, lock);
    case "force":
      return force(life, shared, lock);
    case "inspect":
      await settled(life, shared, lock, () => life.session.call(CALL_MS, (id) => ["inspect", id, lock]));
  }
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
    recorder.add([lock], () => ({ kind: "release", client: life.id, token, ...span }));
    world.story.note(lock, life.id, () => `releases detached token ${token}`);
    const result = await settled(life, shared, lock, () => life.session.releaseAny(token, lock));
    if (result === null) return;
    if (result) shared.watch.detached.over(life.service, token);
    Object.assign(span, { result, returnedMs: life.process.localMs });
    return;
  }
  let isRefused = false;
  recorder.add([lock], () => (isRefused ? null : { kind: "unlock", client: life.id, lock, ...span }));
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
async function intrude(life: Life, shared: Shared, lock: string): Promise<void> {
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
  shared.recorder.add([lock], () => ({
    kind: "check",
    client: life.id,
    lock,
    calledMs,
    returnedMs,
    result: result as boolean,
  }));
}
