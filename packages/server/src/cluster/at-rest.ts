import { randomBytes } from "node:crypto";
import { CLOCK_KEY } from "../loop/index.js";
import { type Compare, type Etcd, type EtcdEntry, endOf, type Op } from "../store/etcd-api.js";
import { slicesOf } from "../store/etcd-slices.js";
import {
  type Change,
  decodeRecord,
  type FolderMark,
  type MarkKind,
  StoreInUseError,
  StoreUnusableError,
} from "../store/index.js";
import { COMMON_VERSION, clusterKeyOf, FENCES, MEMBERS, READS } from "./keys.js";
import {
  COPYING,
  JOINED,
  MARKS,
  type Marks,
  markKey,
  marksIn,
  markWritten,
  refusalOf,
  unmarked,
} from "./marks.js";
import { PARTITIONS } from "./partitions.js";
import {
  fenceKey,
  isSame,
  type MemberRecord,
  memberKey,
  type OwnerRecord,
  ownerKey,
  seen,
  written,
} from "./records.js";
import { Snapshot } from "./snapshot.js";
import { type Pause, repeated, SYSTEM_PAUSE, type TxnSaid } from "./through.js";

/** How often it is looked whether a member still beats. */
const LOOK_MS = 500;
/** What one clock may gain on another meanwhile. */
const MARGIN = 0.1;
/** A transaction takes 128 operations and 1.5 MiB. */
const A_TXN = { itemsMax: 120, bytesMax: 1_024 * 1_024 };
const TXNS_AT_ONCE = 4;
/** Whoever has mistyped an address hears of it soon. */
const OPEN_MS = 3_000;
/** To remove all that a large cluster has takes etcd a while. */
const EMPTY_MS = 60_000;

export interface AtRestOptions {
  readonly etcd: Etcd;
  /** What all keys of the cluster begin with, such as `/lockdb/`. */
  readonly at: string;
  /** Of the cluster, for people, such as `etcd://host:2379/lockdb`. */
  readonly name: string;
  readonly pause?: Pause;
}

/**
 * A cluster in which no member lives, to be copied, or to be made. Whatever is decided of it is a condition of a transaction: nobody lives, it has no mark,
 * nobody has joined meanwhile. Values are compared, never revisions.
 */
export class ClusterAtRest {
  readonly name: string;
  readonly #etcd: Etcd;
  readonly #at: string;
  readonly #pause: Pause;
  /** What a copy of ours writes. */
  readonly #copying = randomBytes(12);
  #marks: Marks;
  /** Who had joined last when it was begun to be read: of itself the condition that nobody has since. */
  #joined: Compare | null = null;
  #filling: Uint8Array | null = null;
  #lookKey: string | null = null;
  /** Where the lease clocks of all partitions begin, from the records that it is filled with. */
  #leaseMs = 0;

  private constructor({ etcd, at, name, pause = SYSTEM_PAUSE }: AtRestOptions, marks: Marks) {
    this.#etcd = etcd;
    this.#at = at;
    this.name = name;
    this.#pause = pause;
    this.#marks = marks;
  }

  /** @throws EtcdError, StoreFailedError when etcd does not answer */
  static async open(options: AtRestOptions): Promise<ClusterAtRest> {
    const { etcd, at, pause = SYSTEM_PAUSE } = options;
    return new ClusterAtRest(options, await readMarks(etcd, at, pause));
  }

  /** As it was last seen. */
  markOf(kind: MarkKind): FolderMark | null {
    return this.#marks[kind];
  }

  /** @throws StoreUnusableError */
  refuseMarked(): void {
    const refusal = refusalOf(this.#at, this.#marks);
    if (refusal !== null) throw refusal;
  }

  // --- a copy of it ---

  /**
   * All that there is, once nobody lives there: members that have stood still for their lease are fenced, as other members would.
   * @throws StoreInUseError when one lives, StoreUnusableError when it is marked
   */
  async read(): Promise<Snapshot> {
    await this.#fenceSilent();
    this.#joined = await this.#lastJoined();
    const compare = [...this.#nobody(), ...unmarked(this.#at)];
    const said = await this.#repeated(compare, [{ put: `${this.#at}${COPYING}`, value: this.#copying }]);
    if (!said.isApplied) {
      this.#marks = await readMarks(this.#etcd, this.#at, this.#pause);
      this.refuseMarked();
      throw this.#inUse();
    }
    return this.#snapshot();
  }

  /** What it is whose history has gone elsewhere already, or whoever uses it: only to be looked at. */
  async look(): Promise<Snapshot> {
    const key = `${READS}look-${randomBytes(9).toString("base64url")}`;
    const refused = () => new StoreUnusableError("etcd refuses a transaction that has no condition.");
    const options = { etcd: this.#etcd, at: this.#at, compare: [], pause: this.#pause };
    this.#lookKey = key;
    return Snapshot.take({ ...options, key, value: Buffer.from(key), refused });
  }

  /** Members that have records there. */
  async memberCount(): Promise<number> {
    return (await this.#members()).size;
  }

  #snapshot(): Promise<Snapshot> {
    const compare = this.#isAsRead();
    const options = { etcd: this.#etcd, at: this.#at, pause: this.#pause, compare };
    return Snapshot.take({
      ...options,
      key: COPYING,
      value: this.#copying,
      refused: () => this.#inUse(),
    });
  }

  /**
   * From now on nobody joins there, and nobody has joined since it was read.
   * @throws StoreInUseError when somebody has: it has no mark then. After any other error nobody knows
   */
  async markMoved(mark: FolderMark): Promise<void> {
    const { key, value } = markWritten("moved", mark);
    const at = this.#at;
    const ops: Op[] = [{ put: `${at}${key}`, value }, { delete: `${at}${COPYING}` }];
    const compare = [...this.#isAsRead(), ...unmarked(at)];
    const said = await this.#repeated(compare, ops, [{ get: `${at}${key}` }]);
    // An earlier attempt that nobody has answered.
    const [found] = said.gets[0] ?? [];
    if (!said.isApplied && (found === undefined || !isSame(found.value, value))) throw this.#inUse();
    this.#marks = { ...this.#marks, moved: mark };
  }

  // --- making it ---

  /** Begins to fill it. @throws StoreUnusableError when anything is there */
  async fill(mark: FolderMark): Promise<void> {
    const at = this.#at;
    const { key, value } = markWritten("unfinished", mark);
    const said = await this.#repeated(
      [{ key: at, end: endOf(at), revision: 0 }],
      [{ put: `${at}${key}`, value }],
      [{ get: at, end: endOf(at), limit: 1 }, { get: `${at}${key}` }],
    );
    const [[first], [found]] = (said.isApplied ? [[], []] : said.gets) as EtcdEntry[][] as [
      [EtcdEntry?],
      [EtcdEntry?],
    ];
    if (!said.isApplied && (found === undefined || !isSame(found.value, value))) {
      const name = first?.key.toString().slice(at.length) ?? "something";
      throw new StoreUnusableError(
        `The cluster "${at.slice(1, -1)}" is not empty: "${name}" is in it. Name another cluster, or remove all that this one has in etcd ` +
          `(etcdctl del --prefix ${at}).`,
      );
    }
    this.#filling = value;
    this.#marks = { ...this.#marks, unfinished: mark };
  }

  /** Puts records of one server where a cluster has them. */
  async put(changes: readonly Change[]): Promise<void> {
    const byKey = new Map<string, Op>();
    for (const { key, value } of changes) {
      if (key === CLOCK_KEY) this.#leaseMs = clockIn(value!);
      else {
        const to = `${this.#at}${clusterKeyOf(key, "none")}`;
        byKey.set(to, value === null ? { delete: to } : { put: to, value });
      }
    }
    await this.#write([...byKey.values()]);
  }

  /** Nobody owns a partition yet: whoever claims it first goes on from the lease time that the records are of (R6). */
  async putOwners(): Promise<void> {
    const member = `copied-${randomBytes(9).toString("base64url")}`;
    const record: OwnerRecord = { member, epoch: 1, leaseMs: this.#leaseMs };
    const owners = Array.from({ length: PARTITIONS }, (_, partition): Op => {
      const { key, value } = written(ownerKey(partition), record);
      return { put: `${this.#at}${key}`, value };
    });
    await this.#write([...owners, { put: `${this.#at}${COMMON_VERSION}`, value: Buffer.from(member) }]);
  }

  /** It is whole: members may join. */
  async unmark(): Promise<void> {
    const mark = this.#marks.unfinished;
    const value = this.#filling ?? markWritten("unfinished", mark!).value;
    const key = `${this.#at}${markKey("unfinished")}`;
    const said = await this.#repeated([{ key, value }], [{ delete: key }], [{ get: key }]);
    if (!said.isApplied && said.gets[0]!.length > 0) throw this.#taken();
    this.#marks = { ...this.#marks, unfinished: null };
  }

  /** It came to nothing: it is empty again. */
  async empty(): Promise<void> {
    if (this.#filling === null) return;
    const key = `${this.#at}${markKey("unfinished")}`;
    await this.#repeated(
      [{ key, value: this.#filling }],
      [{ delete: this.#at, end: endOf(this.#at) }],
      [],
      EMPTY_MS,
    );
  }

  async close(): Promise<void> {
    const at = this.#at;
    const ours: Op[] = this.#lookKey === null ? [] : [{ delete: `${at}${this.#lookKey}` }];
    await this.#etcd.txn({ compare: [this.#isCopying()], ops: [{ delete: `${at}${COPYING}` }] });
    if (ours.length > 0) await this.#etcd.txn({ compare: [], ops: ours });
    this.#etcd.close();
  }

  // --- who lives ---

  /** @throws StoreInUseError when one lives */
  async #fenceSilent(): Promise<void> {
    const first = await this.#members();
    const sinceMs = this.#pause.monotonicMs();
    if (first.size === 0) return;
    const leaseMs = Math.max(...[...first.values()].map(({ record }) => record.leaseMs));
    for (let sentMs = sinceMs; sentMs - sinceMs < leaseMs * (1 + MARGIN); ) {
      await this.#pause.wait(LOOK_MS);
      sentMs = this.#pause.monotonicMs();
      for (const [id, { record, bytes }] of await this.#members()) {
        const known = first.get(id);
        if (known === undefined || !isSame(known.bytes, bytes))
          throw new StoreInUseError(
            `The cluster at ${this.name} is in use by its member ${record.url}. Stop all of its members first. What a running cluster has, ` +
              "`lockdb store backup` writes down.",
          );
      }
    }
    for (const [id, { bytes }] of first) {
      const compare = [{ key: `${this.#at}${memberKey(id)}`, value: bytes }];
      const gone = [memberKey(id), fenceKey(id)].map((key) => ({ delete: `${this.#at}${key}` }));
      await this.#repeated(compare, gone);
    }
  }

  async #members() {
    const get = { get: `${this.#at}${MEMBERS}`, end: endOf(`${this.#at}${MEMBERS}`) };
    const { gets } = await this.#repeated([], [throughLog(this.#at), get]);
    const entries = gets[0]!.map(({ key, value }) => {
      const id = key.toString().slice(this.#at.length + MEMBERS.length);
      return [id, seen<MemberRecord>(memberKey(id), value)] as const;
    });
    return new Map(entries);
  }

  /** Without a fence nobody writes; a member is there for those who look. */
  #nobody(): Compare[] {
    const areas = [MEMBERS, FENCES].map((area) => `${this.#at}${area}`);
    return areas.map((key) => ({ key, end: endOf(key), revision: 0 }));
  }

  #isCopying(): Compare {
    return { key: `${this.#at}${COPYING}`, value: this.#copying };
  }

  /** Nobody lives there, nobody has lived there since, and nobody else copies it. */
  #isAsRead(): Compare[] {
    return [...this.#nobody(), this.#joined!, this.#isCopying()];
  }

  async #lastJoined(): Promise<Compare> {
    const key = `${this.#at}${JOINED}`;
    const [[found]] = (await this.#repeated([], [throughLog(this.#at), { get: key }])).gets as [[EtcdEntry?]];
    return found === undefined ? { key, revision: 0 } : { key, value: found.value };
  }

  #inUse(): StoreInUseError {
    return new StoreInUseError(
      `A member has joined the cluster at ${this.name} meanwhile, or another copy was begun. Stop all members, and do it again.`,
    );
  }

  #taken(): StoreUnusableError {
    return new StoreUnusableError(
      `Somebody else has changed the cluster at ${this.name} meanwhile. Look at what is there before you do anything with it.`,
    );
  }

  // --- writing ---

  /** In any order, and perhaps twice: as long as it is ours to fill. */
  async #write(ops: readonly Op[]): Promise<void> {
    const slices = slicesOf(ops, sizeOf, A_TXN);
    const key = `${this.#at}${markKey("unfinished")}`;
    const compare = [{ key, value: this.#filling! }];
    const writing = Array.from({ length: TXNS_AT_ONCE }, async () => {
      for (let slice = slices.pop(); slice !== undefined; slice = slices.pop())
        if (!(await this.#repeated(compare, slice)).isApplied) throw this.#taken();
    });
    const failed = (await Promise.allSettled(writing)).find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  #repeated(
    compare: readonly Compare[],
    ops: readonly Op[],
    otherwise: readonly Op[] = [],
    timeoutMs?: number,
  ): Promise<TxnSaid> {
    const txn = { compare, ops, otherwise, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
    return repeated(this.#etcd, txn, this.#pause);
  }
}

async function readMarks(etcd: Etcd, at: string, pause: Pause): Promise<Marks> {
  const get = { get: `${at}${MARKS}`, end: endOf(`${at}${MARKS}`) };
  const look = { compare: [], ops: [throughLog(at), get], patienceMs: OPEN_MS };
  const { gets } = await repeated(etcd, look, pause);
  return marksIn(at, gets[0]!);
}

/** Changes nothing, as there is no such key; but what changes something goes through etcd's log, and is told nothing old. */
function throughLog(at: string): Op {
  return { delete: `${at}${READS}nobody` };
}

function sizeOf(op: Op): number {
  return "put" in op ? op.put.length + op.value.length : 0;
}

function clockIn(value: Uint8Array): number {
  return (decodeRecord({ key: CLOCK_KEY, value }) as { readonly nowMs: number }).nowMs;
}
