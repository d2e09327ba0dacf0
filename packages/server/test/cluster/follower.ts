import { Identity } from "../../src/cluster/identity.js";
import { layoutOf } from "../../src/cluster/layout.js";
import { fencedBy, redoPart } from "../../src/cluster/part.js";
import { fenceKey, ownerKey, written } from "../../src/cluster/records.js";
import { Steps } from "../../src/cluster/steps.js";
import { ClusterTotals } from "../../src/cluster/totals.js";
import { Words } from "../../src/cluster/words.js";
import { openEtcdStore } from "../../src/store/etcd.js";
import type { Etcd } from "../../src/store/etcd-api.js";
import { type Change, encodeRecord, type Store } from "../../src/store/index.js";
import type { MemoryEtcd } from "../store/memory-etcd.js";
import { AT, Common } from "./world.js";

const words = new Words(AT);

/** A member as far as it follows what all share, and looks when a test wants it to. */
export class Follower {
  readonly common = new Common();
  readonly totals = new ClusterTotals();
  readonly self: Identity;
  /** False: it has another id by now. */
  isNow = true;
  /** What its log says. */
  readonly warnings: string[] = [];
  readonly #etcd: MemoryEtcd;
  readonly #steps: Steps;

  /** @param onCommon in place of what keeps all that is read */
  constructor(etcd: MemoryEtcd, id: string, onCommon: Common["onCommon"] = this.common.onCommon) {
    this.#etcd = etcd;
    this.self = new Identity(id);
    this.#steps = new Steps({
      ...{ etcd: etcd.client(), at: AT, url: `http://${id}`, totals: this.totals, onCommon },
      log: { info: () => {}, warn: (_facts, text) => this.warnings.push(text), error: () => {} },
      runtime: { randomId: () => id },
      pause: async () => {},
      looked: async () => {},
      isNow: () => this.isNow,
      changed: () => {},
      lookSoon: () => {},
    });
  }

  async join(): Promise<void> {
    const { key, value } = written(fenceKey(this.self.id), { member: this.self.id });
    await this.#etcd.client().txn({ compare: [], ops: [{ put: `${AT}${key}`, value }] });
  }

  async look(): Promise<void> {
    const { entries } = await this.#etcd.client().range({ key: `${AT}version/common` });
    this.self.newCommonVersion = entries[0]?.value ?? null;
  }

  follow(): Promise<boolean> {
    return this.#steps.follow(this.self);
  }

  /** What it has read so far: all, or changes. */
  get reads(): { readonly whole: number; readonly changes: number } {
    return { ...this.totals.commonReads };
  }

  /** Records and what they are, as text. */
  get known(): Record<string, string> {
    return Object.fromEntries([...this.common.records].map(([key, value]) => [key, JSON.stringify(value)]));
  }
}

/** What there is in etcd of what all share. */
export async function commonIn(etcd: MemoryEtcd): Promise<Record<string, string>> {
  const at = `${AT}data/common/`;
  const { entries } = await etcd.client().range({ key: at, end: `${at}~` });
  return Object.fromEntries(
    entries.map(({ key, value }) => [key.toString().slice(at.length), value.subarray(5).toString()]),
  );
}

/** Time passes at once. */
const CLOCK = {
  monotonicMs: () => 0,
  setTimer: (run: () => void) => {
    setImmediate(run);
    return () => {};
  },
};

/** The store of a member. */
export async function storeOf(etcd: MemoryEtcd, id: string, opening: string, client: Etcd = etcd.client()) {
  const { key, value } = written(fenceKey(id), { member: id });
  await etcd.client().txn({ compare: [], ops: [{ put: `${AT}${key}`, value }] });
  const guards = [{ key: `${AT}${key}`, value }];
  return openEtcdStore({ etcd: client, at: AT, guards, layout: layoutOf(id), clock: CLOCK, opening });
}

export const put = (key: string, is: number): Change => ({ key, value: encodeRecord(key, { is }) });
export const gone = (key: string): Change => ({ key, value: null });

/** So many changes beside, of a service, that a batch is in pieces. */
export const MANY: readonly Change[] = Array.from({ length: 130 }, (_, at) =>
  put(`default/service/s/session/${at}`, at),
);

/** A keeper dies in the midst of a batch that counts, and the next one brings that to its end. */
export async function diesAndIsRedone(
  etcd: MemoryEtcd,
  former: string,
  dying: (client: Etcd & { die(): void }) => Promise<Store>,
  changes: readonly Change[],
  copied: number,
): Promise<void> {
  const client = etcd.client();
  const store = await dying(client);
  let heads = 0;
  const { fate } = etcd;
  await new Promise<void>((resolve) => {
    etcd.fate = (txn) => {
      if (!txn.ops.some((op) => "put" in op && op.put === `${AT}head/${former}`)) return "answered";
      if (heads++ < copied) return "answered";
      client.die();
      setImmediate(resolve);
      return heads === 1 ? "lost" : "never";
    };
    store.commit([...MANY, ...changes]).catch(() => {});
  });
  etcd.fate = fate;
  const next = `${former}-next`;
  const owner = written(ownerKey(0), { member: next, epoch: 1, leaseMs: 0, redo: [former] });
  const fence = written(fenceKey(next), { member: next });
  const ops = [owner, fence].map((each) => words.put(each));
  await etcd.client().txn({ compare: [], ops: [...ops, words.delete(fenceKey(former))] });
  const redo = { former, partition: 0, owner: words.is(owner.key, owner.value), name: `redo/${former}` };
  await redoPart(fencedBy(etcd.client(), words, next), redo);
}
