/**
 * A lock service so plain that one sees that it is right: two lists, scanned from their start after whatever happens.
 * The engine is compared with it (model.test.ts), and shares no code with it.
 */

/** `2/5` is two of five permits. */
export type NaiveMode = "exclusive" | "shared" | readonly [weight: number, permits: number];

export interface NaiveWant {
  readonly name: string;
  readonly mode: NaiveMode;
}

export interface NaiveRequest {
  readonly who: string;
  /** Used once, by whomever. */
  readonly id: number;
  readonly wants: readonly NaiveWant[];
  readonly waitUntilMs: number;
  /** How long the hold lasts; a detached one is no session's. */
  readonly holdMs: number;
  readonly isDetached: boolean;
  /** Tokens of the holds that it is made inside of. */
  readonly within: readonly number[];
  /** The whole request, as a story has it. */
  readonly text: string;
  /** The engine's, once it has said it. */
  ticket: number | null;
}

export interface NaiveHold {
  readonly request: NaiveRequest;
  /** Null for a detached hold. */
  readonly session: string | null;
  readonly wants: readonly NaiveWant[];
  readonly endsAtMs: number;
  /** The engine's, once it has said it. */
  token: number | null;
}

export interface NaiveSession {
  readonly name: string;
  isAway: boolean;
  endsAtMs: number;
  /** What it was not told while it was away: its requests that timed out, and its holds that were lost. */
  readonly timedOut: NaiveRequest[];
  readonly lost: { readonly hold: NaiveHold; readonly by: "expiry" | "force" }[];
}

/** How long a session may be silent, and how many may wait for one lock. */
export interface NaiveLimits {
  readonly leaseMs: number;
  readonly waitersMax: number;
}

export class Naive {
  readonly #limits: NaiveLimits;
  nowMs = 0;
  holds: readonly NaiveHold[] = [];
  /** In ticket order. */
  waiters: readonly NaiveRequest[] = [];
  sessions: readonly NaiveSession[] = [];
  /** What the last step has to be answered, in any order. */
  said: string[] = [];

  constructor(limits: NaiveLimits) {
    this.#limits = limits;
  }

  session(name: string): NaiveSession | undefined {
    return this.sessions.find((session) => session.name === name);
  }

  open(name: string): void {
    const endsAtMs = this.nowMs + this.#limits.leaseMs;
    this.sessions = [...this.sessions, { name, isAway: false, endsAtMs, timedOut: [], lost: [] }];
  }

  /** A session has spoken (L4). */
  renew(name: string): void {
    const session = this.session(name);
    if (session !== undefined) session.endsAtMs = this.nowMs + this.#limits.leaseMs;
  }

  acquire(request: NaiveRequest, reentrant: boolean): void {
    const { who, id, wants, within, waitUntilMs } = request;
    const outer = within.flatMap((token) => this.holds.filter((hold) => hold.token === token));
    const again = outer.find((hold) => wants.every((want) => hold.wants.some((had) => serves(had, want))));
    const refuse = (code: string) => this.#say(who, `refused :${id} ${code}`);
    if (reentrant && again !== undefined) return this.#say(who, `granted :${id} again as #${again.token}`);
    for (const { name, mode } of wants) {
      if (modesOf(this.holds, name).some((held) => permitsOf(held) !== permitsOf(mode)))
        return refuse("PERMITS_MISMATCH");
    }
    const present = this.#present();
    if (isNext(request, this.holds, present)) return this.#grant(request);
    if (waitUntilMs === this.nowMs) return refuse("LOCK_TIMEOUT");
    for (const { name } of wants) {
      if (modesOf(this.waiters, name).length >= this.#limits.waitersMax) return refuse("QUEUE_FULL");
    }
    if (outer.length > 0 && !canBeGranted(request, this.holds, [...present, request]))
      return refuse("DEADLOCK");
    this.waiters = [...this.waiters, request];
    this.#say(who, `queued :${id}`);
  }

  /** @param name must be among its names, when it is said */
  release(who: string, id: number, token: number, name: string | null): void {
    const hold = this.#holdOf(token, name);
    const isAllowed = hold !== undefined && (hold.session === null || hold.session === who);
    if (!isAllowed) return this.#say(who, `refused :${id} NOT_HELD`);
    this.#end(hold);
    this.#say(who, `done :${id} true`);
  }

  /** Only a detached hold of nothing else can be unlocked by its name, and only one that is alone (L9). */
  unlock(who: string, id: number, name: string): void {
    const holds = this.holds.filter((hold) => hasName(hold, name));
    const [hold] = holds;
    if (hold === undefined) return this.#say(who, `done :${id} false`);
    if (holds.length > 1 || hold.session !== null || hold.wants.length > 1)
      return this.#say(who, `refused :${id} NOT_HELD`);
    this.#end(hold);
    this.#say(who, `done :${id} true`);
  }

  force(who: string, id: number, token: number, name: string): void {
    const hold = this.#holdOf(token, name);
    if (hold === undefined) return this.#say(who, `refused :${id} NOT_HELD`);
    this.#lose(hold, "force");
    this.#say(who, `done :${id} true`);
  }

  /** Takes a request back, waiting or granted (Q7). */
  cancel(who: string, id: number): void {
    const waiter = this.waiters.find((each) => each.id === id);
    const hold = this.holds.find(({ request }) => request.id === id);
    if (waiter !== undefined) this.#drop([waiter]);
    else if (hold !== undefined) this.#end(hold);
    this.#say(who, `done :${id} ${waiter !== undefined || hold !== undefined}`);
  }

  /** Its waiters keep their tickets, and are passed over (Q7). */
  leave(name: string): void {
    this.session(name)!.isAway = true;
    this.#grantAll();
  }

  /** A session is back, and has told all that it has, but for what it has forgotten (R3). */
  comeBack(name: string, forgotten: NaiveHold | NaiveRequest | undefined): void {
    const session = this.session(name)!;
    session.isAway = false;
    session.timedOut.length = 0;
    session.lost.length = 0;
    this.waiters = this.waiters.filter((waiter) => waiter !== forgotten);
    this.holds = this.holds.filter((hold) => hold !== forgotten);
    this.#grantAll();
    this.#breakDeadlocks();
    this.#say(name, "welcome back");
  }

  /** Detached holds outlive it (L9). */
  end(name: string): void {
    this.sessions = this.sessions.filter((session) => session.name !== name);
    this.waiters = this.waiters.filter(({ who }) => who !== name);
    this.holds = this.holds.filter((hold) => hold.session !== name);
    this.#grantAll();
  }

  bye(name: string, id: number): void {
    this.end(name);
    this.#say(name, `done :${id} true`);
  }

  /** Whatever is over by now ends, the earliest first. */
  tick(): void {
    for (;;) {
      const ends = [
        ...this.waiters.map((each) => ({ atMs: each.waitUntilMs, end: () => this.#timeOut(each) })),
        ...this.holds.map((each) => ({ atMs: each.endsAtMs, end: () => this.#lose(each, "expiry") })),
        ...this.sessions.map((each) => ({ atMs: each.endsAtMs, end: () => this.#runOut(each) })),
      ];
      const [first] = ends.sort((a, b) => a.atMs - b.atMs);
      if (first === undefined || first.atMs > this.nowMs) return;
      first.end();
    }
  }

  #timeOut(waiter: NaiveRequest): void {
    this.#drop([waiter]);
    const session = this.session(waiter.who)!;
    if (session.isAway) session.timedOut.push(waiter);
    else this.#say(waiter.who, `refused :${waiter.id} LOCK_TIMEOUT`);
  }

  #runOut({ name, isAway }: NaiveSession): void {
    if (!isAway) this.#say(name, "ended SESSION_ENDED");
    this.end(name);
  }

  /** Ends a hold against its holder's wish, and tells him. A detached one has nobody to tell. */
  #lose(hold: NaiveHold, by: "expiry" | "force"): void {
    const session = hold.session === null ? undefined : this.session(hold.session);
    if (session?.isAway === true) session.lost.push({ hold, by });
    else if (session !== undefined) this.#say(session.name, `lost #${hold.token} by ${by}`);
    this.#end(hold);
  }

  #end(hold: NaiveHold): void {
    this.holds = this.holds.filter((each) => each !== hold);
    this.#grantAll();
  }

  #drop(waiters: readonly NaiveRequest[]): void {
    this.waiters = this.waiters.filter((each) => !waiters.includes(each));
    this.#grantAll();
  }

  #grantAll(): void {
    for (;;) {
      const next = firstNext(this.holds, this.#present());
      if (next === undefined) return;
      this.waiters = this.waiters.filter((waiter) => waiter !== next);
      this.#grant(next);
    }
  }

  #grant(request: NaiveRequest): void {
    this.holds = [...this.holds, holdFor(request, this.nowMs)];
    this.#say(request.who, `granted :${request.id}`);
  }

  /** Who came back to the front of a queue may have closed circles: of each the youngest request goes (D2). */
  #breakDeadlocks(): void {
    const isStuck = (waiter: NaiveRequest) =>
      this.#present().includes(waiter) && !canBeGranted(waiter, this.holds, this.#present());
    for (;;) {
      const nested = this.waiters.filter(({ within }) =>
        this.holds.some(({ token }) => within.includes(token!)),
      );
      const stuck = nested.filter(isStuck).reverse();
      if (stuck.length === 0) return;
      const own = stuck.filter((waiter) => {
        if (!isStuck(waiter)) return false;
        const alone = { ...waiter, within: [] };
        const others = this.#present().map((each) => (each === waiter ? alone : each));
        const isOwn = canBeGranted(alone, this.holds, others);
        if (isOwn) this.#refuseDeadlock(waiter);
        return isOwn;
      });
      if (own.length === 0) this.#refuseDeadlock(stuck[0]!);
    }
  }

  #refuseDeadlock(waiter: NaiveRequest): void {
    this.#drop([waiter]);
    this.#say(waiter.who, `refused :${waiter.id} DEADLOCK`);
  }

  /** Those who wait and can be reached. */
  #present(): readonly NaiveRequest[] {
    return this.waiters.filter(({ who }) => !this.session(who)!.isAway);
  }

  #holdOf(token: number, name: string | null): NaiveHold | undefined {
    return this.holds.find((hold) => hold.token === token && (name === null || hasName(hold, name)));
  }

  #say(who: string, what: string): void {
    this.said.push(`${who} ${what}`);
  }
}

/** Whether all these can have one lock together (Q4). */
function fit(modes: readonly NaiveMode[]): boolean {
  if (modes.length < 2 || modes.every((mode) => mode === "shared")) return true;
  if (modes.some((mode) => permitsOf(mode) === 0 || permitsOf(mode) !== permitsOf(modes[0]!))) return false;
  return modes.reduce((sum, mode) => sum + Number(mode[0]), 0) <= permitsOf(modes[0]!);
}

/**
 * A request is next when on each of its locks it fits beside all who hold it and all who asked before (Q2, Q4, Q5). So
 * nobody who conflicts with an earlier one passes him, and whoever does not is not kept.
 */
function isNext(
  { wants }: NaiveRequest,
  holds: readonly NaiveHold[],
  before: readonly NaiveRequest[],
): boolean {
  return wants.every(({ name, mode }) => fit([...modesOf(holds, name), ...modesOf(before, name), mode]));
}

function firstNext(holds: readonly NaiveHold[], waiters: readonly NaiveRequest[]): NaiveRequest | undefined {
  return waiters.find((waiter, at) => isNext(waiter, holds, waiters.slice(0, at)));
}

/**
 * Whether a request is granted in any course of things in which holds end one by one, but none that has a request inside
 * it which still waits (D2). Tries them all.
 */
function canBeGranted(
  asked: NaiveRequest,
  holds: readonly NaiveHold[],
  waiters: readonly NaiveRequest[],
  tried = new Set<string>(),
): boolean {
  const next = firstNext(holds, waiters);
  if (next === asked) return true;
  if (next !== undefined) {
    const others = waiters.filter((waiter) => waiter !== next);
    return canBeGranted(asked, [...holds, holdFor(next, 0)], others, tried);
  }
  const world = `${holds.map(({ request }) => request.id)}|${waiters.map(({ id }) => id)}`;
  if (tried.has(world)) return false;
  tried.add(world);
  return holds.some((hold) => {
    if (waiters.some(({ within }) => within.includes(hold.token ?? 0))) return false;
    return canBeGranted(
      asked,
      holds.filter((each) => each !== hold),
      waiters,
      tried,
    );
  });
}

/** Whether who has a lock so needs not ask for it so (D3). */
function serves(had: NaiveWant, want: NaiveWant): boolean {
  if (had.name !== want.name || permitsOf(had.mode) !== permitsOf(want.mode)) return false;
  if (permitsOf(had.mode) > 0) return Number(had.mode[0]) >= Number(want.mode[0]);
  return had.mode === "exclusive" || want.mode === "shared";
}

function holdFor(request: NaiveRequest, nowMs: number): NaiveHold {
  const { wants, holdMs, isDetached, who } = request;
  return { request, session: isDetached ? null : who, wants, endsAtMs: nowMs + holdMs, token: null };
}

/** In which modes these want a lock, or have it. */
function modesOf(
  all: readonly { readonly wants: readonly NaiveWant[] }[],
  name: string,
): readonly NaiveMode[] {
  return all.flatMap(({ wants }) => wants.filter((want) => want.name === name).map(({ mode }) => mode));
}

function hasName({ wants }: NaiveHold, name: string): boolean {
  return wants.some((want) => want.name === name);
}

/** 0 for an ordinary lock. */
function permitsOf(mode: NaiveMode): number {
  return mode === "exclusive" || mode === "shared" ? 0 : mode[1];
}
