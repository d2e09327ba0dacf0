import type { SessionRecord } from "../../packages/server/dist/engine/commands.js";
import type { DurableRecord } from "../../packages/server/dist/engine/restore.js";
import type { Process } from "./process.js";
import type { World } from "./world.js";

/** The longest step of the lease clock (L3), and a little for rounding. */
const STEP_MS = 255;
/** The fastest of all clocks. */
const RATE_MAX = 1.05;
/** The stored lease clock may be that far behind. */
const CLOCK_LAG_MS = 2_000;

/** The lease clock stands still while the server does (L3), and goes on over restarts (R6). */
export class LeaseTime {
  readonly #world: World;
  #process: Process | null = null;
  #startedMs = 0;
  #ranMs = 0;
  #pauses = 0;
  /** Since when a session of the list has been waited for, on the lease clock. */
  readonly #awaitedSinceMs = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  read(nowMs: number): void {
    const process = this.#world.current;
    if (process === null) return;
    if (process !== this.#process || nowMs < this.#startedMs) {
      this.#process = process;
      this.#startedMs = nowMs;
      this.#ranMs = process.runningMs;
      this.#pauses = process.pauses;
      return;
    }
    const ranMs = (process.runningMs - this.#ranMs) * RATE_MAX;
    const mostMs = ranMs + (process.pauses - this.#pauses + 2) * STEP_MS;
    if (nowMs - this.#startedMs <= mostMs) return;
    const text = `the lease clock went on by ${nowMs - this.#startedMs} ms while the server ran for ${ranMs.toFixed()} ms`;
    this.#world.violate("L3", text);
  }

  /** A session that does not come back is waited for once, however often the server is restarted. */
  restored(service: string, records: readonly DurableRecord[], nowMs: number): void {
    const isClean = records.some(({ type }) => type === "stopped");
    for (const { type, id, value } of records) {
      if (type !== "session") continue;
      const sinceMs = this.#awaitedSinceMs.get(id);
      const { leaseMs } = value as SessionRecord;
      if (sinceMs === undefined || (isClean && (value as SessionRecord).awaitedUntilMs === undefined)) {
        this.#awaitedSinceMs.set(id, nowMs);
      } else if (nowMs > sinceMs + leaseMs + CLOCK_LAG_MS) {
        const text = `${service} still waits for ${id}, ${nowMs - sinceMs} ms of lease time after it began to`;
        this.#world.violate("R6", text);
      }
    }
  }

  /** The session is back: what it has left counts anew. */
  returned(session: string): void {
    this.#awaitedSinceMs.delete(session);
  }
}
