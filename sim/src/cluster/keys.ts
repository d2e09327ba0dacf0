import type { Member } from "../../../packages/server/dist/cluster/member.js";
import type { Loop } from "../../../packages/server/dist/loop/loop.js";
import type { OutsideRead } from "../../../packages/server/dist/loop/outbox.js";
import { decodeRecord } from "../../../packages/server/dist/store/records.js";
import type { Store } from "../../../packages/server/dist/store/store.js";
import type { Process } from "../process.js";
import type { Random } from "../random.js";
import type { World } from "../world.js";

const KEYS = 12;
/** In one batch, now and then: more than one transaction takes. */
const MANY = 140;
const MANY_CHANCE = 0.05;
const CHANGE_MS_MAX = 1_500;
const CHECK_MS_MAX = 3_000;

interface Row {
  readonly order: number;
  /** Null: it was deleted. */
  readonly is: number | null;
}

/** Keys of a simulated cluster: what each has been in etcd, and what members must know of it (A2). */
export class Keys {
  readonly random: Random;
  /** How often a member was asked what it knows. */
  checks = 0;
  readonly #world: World;
  readonly #rows = new Map<string, Row[]>();
  #order = 0;
  #values = 0;

  /** @param random of its own, so that runs without keys stay as they are */
  constructor(world: World, random: Random) {
    this.#world = world;
    this.random = random;
  }

  /** How many changes there were. */
  get order(): number {
    return this.#order;
  }

  /** Of etcd, in the one order of all transactions. */
  changed(key: string, value: Buffer | null): void {
    const is = value === null ? null : (decodeRecord({ key, value }) as { readonly is: number }).is;
    const rows = this.#rows.get(key) ?? [];
    rows.push({ order: ++this.#order, is });
    this.#rows.set(key, rows);
  }

  /** Some changes that nobody has made before. */
  some(): { readonly key: string; readonly value: object | null }[] {
    const { random } = this;
    const keys = random.chance(MANY_CHANCE)
      ? Array.from({ length: MANY }, (_, at) => at)
      : Array.from({ length: 1 + random.int(3) }, () => random.int(KEYS));
    return [...new Set(keys)].map((at) => ({
      key: `default/key/${at}`,
      value: random.chance(0.3) ? null : { is: ++this.#values },
    }));
  }

  /** What a member knows is what there was then, or has been since. */
  check(name: string, known: ReadonlyMap<string, number>, since: number): void {
    this.checks++;
    for (const [key, rows] of this.#rows) {
      const then = rows.findLast(({ order }) => order <= since) ?? { order: 0, is: null };
      const is = known.get(key) ?? null;
      if (is === then.is || rows.some((row) => row.order > since && row.is === is)) continue;
      this.#world.violate(
        "A2",
        `${name} has ${key} as ${is}, which was ${then.is} when it was asked to catch up`,
      );
    }
  }
}

/** What one process of a member knows of keys, and changes as their keeper. */
export class MemberKeys {
  readonly #keys: Keys;
  readonly #known = new Map<string, number>();
  /** One after the other, as the access room does it. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(keys: Keys) {
    this.#keys = keys;
  }

  readonly onCommon = (read: () => Promise<OutsideRead>): Promise<void> =>
    this.#change(async () => {
      const found = await read();
      if (found.isWhole) this.#known.clear();
      this.#take(found.isWhole ? found.records : found.changes);
    });

  /** Opens the member's store: what there was when that began is known then. */
  async opened(name: string, member: Member): Promise<Store> {
    const { order } = this.#keys;
    const store = await member.openStore();
    if (member.isTrusted()) this.#keys.check(name, this.#known, order);
    return store;
  }

  start(process: Process, name: string, loop: Loop, member: Member): void {
    const { random } = this.#keys;
    const again = (ms: number, act: () => Promise<void>) => {
      process.setTimer(
        () => {
          void act().catch(() => {});
          again(ms, act);
        },
        random.between(1, ms),
      );
    };
    again(CHANGE_MS_MAX, async () => {
      if (member.keeper !== "here" || !loop.ready) return;
      const changes = this.#keys.some();
      await this.#change(async () => {
        await loop.keep(changes);
        this.#take(changes);
      });
    });
    again(CHECK_MS_MAX, async () => {
      const { memberId } = member;
      const { order } = this.#keys;
      if (!member.isTrusted()) return;
      await member.caughtUp();
      if (process.alive && member.memberId === memberId && member.isTrusted())
        this.#keys.check(name, this.#known, order);
    });
  }

  #take(changes: readonly { readonly key: string; readonly value: object | null }[]): void {
    for (const { key, value } of changes) {
      if (value === null) this.#known.delete(key);
      else this.#known.set(key, (value as { readonly is: number }).is);
    }
  }

  #change<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }
}
