import { type Answer, type Effects, Engine, type EngineOptions, type Timed } from "../engine/index.js";

/** Which service of which account, made once by whoever sends it commands. */
export class ServiceKey {
  readonly account: string;
  readonly id: string;
  /** What the keys of its records begin with. */
  readonly prefix: string;

  constructor(account: string, id: string) {
    this.account = account;
    this.id = id;
    this.prefix = `${account}/service/${id}/`;
  }
}

/** A service in memory: its engine, and what waits for a flush. */
export class Service implements Timed {
  readonly key: ServiceKey;
  readonly engine: Engine;
  dueMs = 0;
  heapIndex = -1;
  out: Effects = { answers: [], changes: [] };
  /** Number of the last batch with changes of this service. */
  waitsFor = 0;
  /** Answers behind a batch that is not flushed, in order. */
  heldCount = 0;
  readonly held: { readonly batch: number; readonly answers: readonly Answer[] }[] = [];

  constructor(key: ServiceKey, options: EngineOptions) {
    this.key = key;
    this.engine = new Engine(options);
  }
}
