import type { HolderInfo } from "../../packages/lockdb/dist/protocol/messages.js";
import type { EngineEvent } from "../../packages/server/dist/engine/commands.js";
import { fit, locksOf, serves, type Want, wantOf } from "./modes.js";
import { isServed, type StandingHold, type StandingWaiter, stuckIn } from "./standing.js";
import { type Asked, clientOf, type Locks, type View } from "./view.js";
import type { World } from "./world.js";

interface Hold extends StandingHold {
  readonly holder: HolderInfo;
}

interface Waiter extends StandingWaiter {
  /** It could be granted something now. */
  readonly isPresent: boolean;
}

/** What the locks of a service are like after every step, whatever has happened: seen from outside the engine. */
export class LockRules {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /**
   * Who holds what beside whom, and who waits for what although he need not.
   * @param looksAgain the search for deadlocks goes on in the next step
   */
  check(view: View, locks: Locks, isGranting: boolean, looksAgain = false): void {
    for (const [lock, { holders }] of locks) this.#checkTogether(lock, holders);
    const holds = this.#holdsOf(view, locks);
    const waiters = this.#waitersOf(view, locks);
    if (!isGranting || waiters.length === 0) return;
    this.#checkServed(holds, waiters);
    if (looksAgain) return;
    const present = waiters.filter(({ isPresent }) => isPresent);
    if (present.every(({ within }) => within.length === 0)) return;
    const stuck = stuckIn({ holds, waiters: present });
    const nested = present.find(({ ticket, within }) => stuck.has(ticket) && this.#isInside(within, holds));
    if (nested === undefined) return;
    const text = `ticket ${nested.ticket} is asked inside of ${nested.within.join()}, can never be granted, and waits`;
    this.#world.violate("D2", text, locksOf(nested.wants));
  }

  /** Nobody who came before, and is in his way, is passed by who is granted something (Q2, Q4, Q5). */
  checkOrder(view: View, locks: Locks, wants: readonly Want[], token: number, ticket: number): void {
    const back = backIn(view);
    for (const want of wants) {
      const { holders, queue } = locks.get(want.lock)!;
      if (!holders.some((holder) => holder.token === token)) continue;
      const before = queue.filter(
        (waiter) => waiter.ticket < ticket && (!waiter.away || back.has(waiter.owner)),
      );
      const others = holders.filter((holder) => holder.token <= token);
      const all = [...others, ...before].map((info) => wantOf(want.lock, info));
      if (fit(all)) continue;
      const [first] = before;
      const text =
        first === undefined
          ? `token ${token} of ${want.lock} is granted beside ${others.map((other) => other.token)}`
          : `token ${token} of ${want.lock} overtakes ticket ${first.ticket} of ${first.owner}`;
      this.#world.violate(first === undefined ? "Q4" : "Q2", text, locksOf(wants));
    }
  }

  /**
   * Requests that were refused as deadlocks, in one step: each could never have been granted (D2). How things stood at that
   * moment is how they stand now, with all taken back that has come of the step since.
   */
  checkDeadlocks(view: View, locks: Locks, events: readonly EngineEvent[], asked: Asked | undefined): void {
    if (!events.some(({ type }) => type === "deadlock")) return;
    let holds: readonly StandingHold[] = this.#holdsOf(view, locks);
    const waiters: StandingWaiter[] = this.#waitersOf(view, locks).filter(({ isPresent }) => isPresent);
    for (const { type, token, ticket = 0 } of [...events].reverse()) {
      if (type === "queued") continue;
      // What has ended after it is not put together again. Rare.
      if (type !== "deadlock" && type !== "left" && type !== "granted") return;
      if (type === "granted") holds = holds.filter((hold) => hold.token !== token);
      const waiter = view.askedByTicket.get(ticket) ?? (type === "deadlock" ? asked : undefined);
      if (waiter === undefined) continue;
      const { wants, within } = waiter;
      waiters.push({ ticket, wants, within });
      if (type !== "deadlock" || stuckIn({ holds, waiters }).has(ticket)) continue;
      const text = `${waiter.key} (ticket ${ticket}) is refused as a deadlock, and could be granted`;
      this.#world.violate("D2", text, locksOf(wants));
    }
  }

  /** What is granted again is a hold around the request, which has all that it wants (D3). */
  checkReentrant(locks: Locks, { key, wants, within, reentrant }: Asked, token: number): void {
    const about = locksOf(wants);
    if (!reentrant || !within.includes(token)) {
      return this.#world.violate("D3", `${key} is granted token ${token} again, and is not inside it`, about);
    }
    if (isIn(locks, token, wants)) return;
    this.#world.violate("D3", `${key} is granted token ${token} again, which does not have it`, about);
  }

  /** Who asks again, inside a hold that has it all, need not wait. */
  checkNotReentrant(view: View, locks: Locks, { key, wants, within, reentrant }: Asked): void {
    const around = reentrant ? within.find((token) => isIn(locks, token, wants)) : undefined;
    if (around === undefined) return;
    // A holder that is coming back has not said yet whether it still believes in it.
    const [{ lock }] = wants as [Want];
    const { owner } = locks.get(lock)!.holders.find(({ token }) => token === around)!;
    if ([...view.addressBySession.keys()].some((id) => clientOf(id) === owner && !view.synced.has(id)))
      return;
    this.#world.violate("D3", `${key} is not granted token ${around} again, inside of it`, locksOf(wants));
  }

  /** Whoever holds a lock has as many permits in mind (Q4). @param isRefused for that they have not */
  checkPermits(locks: Locks, { key, wants, steals }: Asked, isRefused: boolean): void {
    const isMismatch = wants.some(({ lock, permits }) =>
      locks.get(lock)!.holders.some((holder) => (holder.permits ?? 0) !== permits),
    );
    if (isMismatch === isRefused || steals) return;
    const text = isRefused ? "is refused for its permits, and" : "has other permits than the holders, and";
    this.#world.violate(
      "Q4",
      `${key} ${text} ${isRefused ? "they are the holders'" : "waits"}`,
      locksOf(wants),
    );
  }

  #checkTogether(lock: string, holders: readonly HolderInfo[]): void {
    // Two by two: after a crash it is not known which of a semaphore's holders are over, if they are too many together.
    const wants = holders.map((holder) => wantOf(lock, holder));
    if (wants.every((want, at) => wants.slice(at + 1).every((other) => fit([want, other])))) return;
    const words = holders.map(({ token, mode, weight, permits }) =>
      permits === undefined ? `${token} (${mode})` : `${token} (${weight} of ${permits})`,
    );
    this.#world.violate("Q4", `${lock} is held by tokens ${words.join(" and ")}`, lock);
  }

  /** Each hold, which has all its locks or none (Q5). */
  #holdsOf(view: View, locks: Locks): readonly Hold[] {
    const byToken = new Map<number, { holder: HolderInfo; wants: Want[] }>();
    for (const [lock, { holders }] of locks) {
      for (const holder of holders) {
        const hold = byToken.get(holder.token) ?? { holder, wants: [] };
        byToken.set(holder.token, hold);
        hold.wants.push(wantOf(lock, holder));
      }
    }
    return [...byToken].map(([token, { holder, wants }]) => {
      const asked = view.wantsByToken.get(token);
      if (asked !== undefined && !areSame(asked, wants)) {
        const text = `token ${token} has ${words(wants)}, and was asked for ${words(asked)}`;
        this.#world.violate("Q5", text, locksOf(asked));
      }
      return { token, wants, isClosed: holder.state === "closed", holder };
    });
  }

  #waitersOf(view: View, locks: Locks): readonly Waiter[] {
    const byTicket = new Map<number, { wants: Want[]; away: Set<boolean>; owner: string }>();
    for (const [lock, { queue }] of locks) {
      for (const info of queue) {
        const { ticket, away, owner } = info;
        const waiter = byTicket.get(ticket) ?? { wants: [], away: new Set(), owner };
        byTicket.set(ticket, waiter);
        waiter.wants.push(wantOf(lock, info));
        waiter.away.add(away);
      }
    }
    const back = byTicket.size === 0 ? null : backIn(view);
    return [...byTicket].map(([ticket, { wants, away, owner }]) => {
      const asked = view.askedByTicket.get(ticket);
      if (away.size > 1 || (asked !== undefined && !areSame(asked.wants, wants))) {
        this.#world.violate("Q5", `ticket ${ticket} waits for part of what it wants`, locksOf(wants));
      }
      if (away.has(true) && back!.has(owner)) {
        this.#world.violate("Q7", `ticket ${ticket} is passed over, and ${owner} is there`, locksOf(wants));
      }
      return { ticket, wants, within: asked?.within ?? [], isPresent: !away.has(true) };
    });
  }

  /** A lock is given on in the step in which there is room (Q2). */
  #checkServed(holds: readonly Hold[], waiters: readonly Waiter[]): void {
    const present = waiters.filter(({ isPresent }) => isPresent).sort((a, b) => a.ticket - b.ticket);
    present.forEach((waiter, at) => {
      if (!isServed(waiter, holds, present.slice(0, at))) return;
      const { ticket, wants } = waiter;
      this.#world.violate(
        "Q2",
        `ticket ${ticket} waits for ${words(wants)}, and nobody is in its way`,
        locksOf(wants),
      );
    });
  }

  #isInside(within: readonly number[], holds: readonly Hold[]): boolean {
    return holds.some(({ token }) => within.includes(token));
  }
}

/** Clients that are connected, and have said all they have to say. */
function backIn({ synced }: View): ReadonlySet<string> {
  return new Set([...synced].map(clientOf));
}

function isIn(locks: Locks, token: number, wants: readonly Want[]): boolean {
  return wants.every((want) =>
    (locks.get(want.lock)?.holders ?? []).some(
      (holder) =>
        holder.token === token && holder.state === "held" && serves(wantOf(want.lock, holder), want),
    ),
  );
}

function areSame(some: readonly Want[], others: readonly Want[]): boolean {
  return words(some) === words(others);
}

function words(wants: readonly Want[]): string {
  return wants
    .map(({ lock, mode, weight, permits }) => `${lock} ${permits > 0 ? `${weight}/${permits}` : mode}`)
    .sort()
    .join(" and ");
}
