import { COSTS, type DurableChange, Slices } from "../engine/index.js";
import type { Change, Store } from "../store/index.js";
import type { Batches } from "./batches.js";
import type { HandOvers, IsIn } from "./hand-overs.js";
import type { LeaseTime } from "./lease-time.js";
import { LongWork } from "./long-work.js";
import type { Outside, OutsideRecord } from "./outbox.js";
import type { LoopRuntime } from "./runtime.js";
import type { Service } from "./service.js";
import type { Services } from "./services.js";
import type { StoredService } from "./stored.js";
import type { Writing } from "./writing.js";

/** What a clean stop may write of all that is handed over together: about a second for etcd, and another at the next member. */
const LIST_MAX = 20_000;

export interface MovesHost {
  readonly runtime: LoopRuntime;
  readonly services: Services;
  readonly batches: Batches;
  readonly writing: Writing;
  readonly outside: Outside;
  readonly time: LeaseTime;
  readonly handOvers: HandOvers;
  /** As `Slices` counts. Absent: some 30 ms. */
  readonly sliceMax?: number | undefined;
  /** Absent: 20,000. */
  readonly listMax?: number | undefined;
  /** Where batches go now; null: the store does not work, or the loop stops. Another one each time that it is opened. */
  store(): Store | null;
  /** Sends what has come of a service on its way. */
  collect(service: Service): void;
  /** Nothing of a service is applied any more. */
  drop(service: Service): void;
  /** A turn is due. */
  schedule(): void;
  /** As `Loop.distrust`. */
  failed(reason: Error): void;
}

/** How services come from other members, and go to them. What is much is done in slices: this member has to beat, and to serve others. */
export class Moves {
  readonly #host: MovesHost;
  readonly #longWork: LongWork;

  constructor(host: MovesHost) {
    this.#host = host;
    this.#longWork = new LongWork(host.runtime);
  }

  /** As `Loop.takeUp`. */
  async takeUp(
    services: readonly StoredService[],
    outside: readonly OutsideRecord[],
    leaseMs: number,
    first: (offsetMs: number) => readonly Change[],
  ): Promise<void> {
    const { batches, writing, time, ...host } = this.#host;
    const assertWanted = this.#assertSame();
    const restoring = this.#restoring(services, leaseMs);
    await this.#longWork.finish(restoring, assertWanted, ({ restored, changes }) => {
      const offsetMs = leaseMs - time.read();
      host.services.join(restored, offsetMs);
      for (const change of first(offsetMs)) batches.add(change);
      // Whoever takes them up next counts from the written clock: it must not be older than this (R6).
      if (time.lastMs > writing.clockMs) writing.addClock(time.lastMs);
      for (const change of changes) batches.add(change);
      for (const service of restored) {
        if (!batches.isEmpty) service.waitsFor = batches.number;
        host.collect(service);
      }
      host.outside.add(outside);
      host.schedule();
      return batches.isEmpty ? undefined : host.outside.kept(batches.number);
    });
  }

  /** As `Loop.handOver`. */
  async handOver(isIn: IsIn, last: readonly Change[], over: () => void): Promise<void> {
    const { batches, writing, ...host } = this.#host;
    const store = host.store();
    const assertWanted = this.#assertSame();
    const going = [...host.services.all()].filter(({ key }) => isIn(key));
    for (const service of going) host.drop(service);
    const handOver = host.handOvers.begin(isIn, over);
    try {
      await this.#longWork.finish(this.#stopping(going), assertWanted, (changes) => {
        batches.seal();
        for (const change of changes) batches.add(change);
        for (const change of last) batches.add(change);
        writing.addClock(host.time.read());
        handOver.isInBatch(batches.number);
        batches.seal();
        host.outside.drop(isIn);
        batches.commit();
      });
    } catch (error) {
      // A mistake of ours: they are not here any more, and come back when all is read anew.
      if (host.store() === store) host.failed(error as Error);
      else handOver.failed(error);
    }
    return handOver.done;
  }

  /** What a clean stop writes of them (R5), in the words of the store, a slice with each step. */
  *#stopping(services: readonly Service[]): Generator<void, readonly Change[], undefined> {
    const { sliceMax, listMax = LIST_MAX } = this.#host;
    const slices = new Slices(sliceMax);
    const all: Change[] = [];
    // Those with little first: they are not to wait because another has much.
    const sorted = [...services].sort((a, b) => a.engine.counts.holds - b.engine.counts.holds);
    for (const service of sorted) {
      // One that failed comes back at the next member, as after a crash.
      if (service.isLoading) continue;
      // So does one of which so much would have to be written that nobody had any of them meanwhile.
      const changes = yield* service.engine.stopping(listMax - all.length, slices);
      if (changes !== null) yield* this.#encode(service, changes, all, slices);
    }
    return all;
  }

  /** As `Services.restoring`, with what that changes in the words of the store. */
  *#restoring(
    stored: readonly StoredService[],
    leaseMs: number,
  ): Generator<void, { restored: readonly Service[]; changes: readonly Change[] }, undefined> {
    const { services, sliceMax } = this.#host;
    const restored = yield* services.restoring(stored, leaseMs);
    const slices = new Slices(sliceMax);
    const all: Change[] = [];
    for (const service of restored) yield* this.#encode(service, service.takeEffects().changes, all, slices);
    return { restored, changes: all };
  }

  *#encode(
    service: Service,
    changes: readonly DurableChange[],
    to: Change[],
    slices: Slices,
  ): Generator<void> {
    for (const change of changes) {
      to.push(this.#host.writing.encoded(service, change));
      if (slices.isFull(COSTS.made)) yield;
    }
  }

  /** @returns what throws once the store has failed, even when it works again by then: all memory was dropped meanwhile */
  #assertSame(): () => void {
    const store = this.#host.store();
    const assertSame = () => {
      if (store === null || this.#host.store() !== store) throw new Error("The store does not work now.");
    };
    assertSame();
    return assertSame;
  }
}
