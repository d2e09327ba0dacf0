import { type Block, blocksOf, entriesIn } from "../../packages/server/dist/store/block.js";
import type { Change, Entries, Store } from "../../packages/server/dist/store/store.js";
import type { DiskPlan } from "./plan.js";
import type { Process } from "./process.js";
import type { World } from "./world.js";

/** What outlives the server's process: the records, and how well the disk works. */
export class Disk {
  readonly world: World;
  readonly plan: DiskPlan;
  readonly records = new Map<string, Uint8Array>();
  /** Called when a commit begins, with the time that it will take. */
  onWrite: (startedMs: number, ms: number) => void = () => {};
  /** Called before a batch is there. */
  onApply: (batch: readonly Change[]) => void = () => {};
  /** Called when a store is opened: whatever had it before is gone. */
  onOpen: () => void = () => {};
  /** Commits on their way. */
  readonly #writing = new Set<Write>();
  #owner: SimStore | null = null;
  #brokenUntilMs = 0;
  #calm = false;

  constructor(world: World, plan: DiskPlan) {
    this.world = world;
    this.plan = plan;
  }

  get calm(): boolean {
    return this.#calm;
  }

  async open(process: Process): Promise<Store> {
    await new Promise<void>((resolve) => this.#answer(process, resolve));
    if (this.world.nowMs < this.#brokenUntilMs) throw new Error("simulated: the disk does not work");
    if (this.#owner !== null) this.world.violate("R8", "the store was opened while it is open");
    this.onOpen();
    this.#owner = new SimStore(this, process);
    return this.#owner;
  }

  /** From now on the disk is quick and keeps everything. */
  heal(): void {
    this.#calm = true;
    this.#brokenUntilMs = 0;
  }

  /** The process is gone. What it was writing is there as a whole, or not at all. */
  crashed(): void {
    for (const write of this.#writing) {
      write.over = true;
      if (write.startedMs <= this.world.nowMs && this.world.random.chance(0.5)) this.apply(write.batch);
    }
    this.#writing.clear();
    this.#owner = null;
  }

  released(store: SimStore): void {
    if (this.#owner === store) this.#owner = null;
  }

  apply(batch: readonly Change[]): void {
    this.onApply(batch);
    for (const { key, value } of batch) {
      if (value === null) this.records.delete(key);
      else this.records.set(key, value);
    }
  }

  /** Writes a batch, in its time; or fails, whatever has become of the batch. */
  write(store: SimStore, batch: readonly Change[], done: (error: Error | null) => void): void {
    const { world, plan } = this;
    const { random } = world;
    const startedMs = store.process.localMs;
    const write: Write = { batch, startedMs, over: false };
    this.#writing.add(write);
    const fails = !this.#calm && random.chance(plan.failChance);
    const isSlow = !this.#calm && random.chance(plan.slowChance);
    const ms = isSlow ? random.span(plan.commitMsMax, plan.slowMsMax) : random.span(0.02, plan.commitMsMax);
    this.onWrite(startedMs, ms);
    world.at(startedMs + ms, () => {
      if (write.over) return;
      write.over = true;
      this.#writing.delete(write);
      if (!fails || random.chance(0.5)) this.apply(batch);
      if (fails) {
        store.fail();
        this.#brokenUntilMs = world.nowMs + random.span(1, plan.brokenMsMax);
        world.story.note(null, "disk", () => "a commit fails");
      }
      store.process.arrive(() => done(fails ? new Error("simulated: the commit failed") : null));
    });
  }

  #answer(process: Process, resolve: () => void): void {
    const { world, plan } = this;
    world.at(process.localMs + world.random.span(0.02, plan.commitMsMax), () => process.arrive(resolve));
  }
}

interface Write {
  readonly batch: readonly Change[];
  readonly startedMs: number;
  over: boolean;
}

/** A `Store` on the simulated disk. Its time is virtual. */
export class SimStore implements Store {
  readonly process: Process;
  readonly #disk: Disk;
  #inFlight: Promise<void> = Promise.resolve();
  #state: "open" | "failed" | "closed" = "open";
  #committing = false;

  constructor(disk: Disk, process: Process) {
    this.#disk = disk;
    this.process = process;
  }

  load(prefix: string): Entries {
    return entriesIn(
      () => this.#blocks(prefix),
      () => this.#assertOpen(),
    );
  }

  async *#blocks(prefix: string): AsyncGenerator<Block> {
    this.#assertOpen();
    const entries = [...this.#disk.records]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => ({ key: Buffer.from(key), value }))
      .sort((a, b) => Buffer.compare(a.key, b.key));
    for (const block of blocksOf(entries)) {
      yield block;
      this.#assertOpen();
    }
  }

  commit(batch: readonly Change[]): Promise<void> {
    if (this.#state !== "open") return Promise.reject(new Error(`simulated: the store is ${this.#state}`));
    if (this.#committing) this.#disk.world.violate("R1", "two commits are in flight");
    if (batch.length === 0) return Promise.resolve();
    this.#committing = true;
    const copies = batch.map(({ key, value }) => ({ key, value: value?.slice() ?? null }));
    const commit = new Promise<void>((resolve, reject) => {
      this.#disk.write(this, copies, (error) => {
        this.#committing = false;
        if (error === null) resolve();
        else reject(error);
      });
    });
    this.#inFlight = commit.catch(() => {});
    return commit;
  }

  async close(): Promise<void> {
    await this.#inFlight;
    this.#state = "closed";
    this.#disk.released(this);
  }

  fail(): void {
    this.#state = "failed";
  }

  #assertOpen(): void {
    if (this.#state !== "open") throw new Error(`simulated: the store is ${this.#state}`);
  }
}
