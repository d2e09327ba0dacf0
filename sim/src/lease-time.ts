import type { SessionRecord } from "../../packages/server/dist/engine/commands.js";
import type { DurableRecord } from "../../packages/server/dist/engine/packed-holds.js";
import type { Process } from "./process.js";
import type { World } from "./world.js";

/** The longest step of the lease clock (L3), and a little for rounding. */
const STEP_MS = 255;
/** The fastest of all clocks. */
const RATE_MAX = 1.05;
/** After a stall the lease clock stands still for that long at most (L3). */
const REST_MS = 2_000;
/** The stored lease clock may be that far behind, and the time that a commit takes. */
const CLOCK_LAG_MS = 1_500;
const SLACK_MS = 500;

/** The lease clock stands still while the server does (L3), and goes on over restarts (R6). */
export class LeaseTime {
  readonly #world: World;
  #process: Process | null = null;
  #startedMs = 0;
  #ranMs = 0;
  #pauses = 0;
  #lastRanMs = 0;
  /** How long each session of the list has been waited for at least, over all restarts. */
  readonly #awaitedMs = new Map<string, { ms: number; life: number }>();
  readonly #commitMsMax: number;
  readonly #lockDelayMs: number;
  #life = 0;
  #lifeStartMs = 0;
  #lifeStartPauses = 0;
  #lastPauses = 0;

  /**
   * @param commitMsMax the longest that a commit takes
   * @param lockDelayMs waited for behind a session whose holds are not known (L8)
   */
  constructor(world: World, commitMsMax: number, lockDelayMs: number) {
    this.#world = world;
    this.#lockDelayMs = lockDelayMs;
    this.#commitMsMax = commitMsMax;
  }

  /** A store is opened: what the server ran until now counts, but for what it may not have written down. */
  opened(): void {
    const ranMs = this.#process === null ? 0 : this.#lastRanMs - this.#lifeStartMs;
    const rests = this.#process === null ? 0 : this.#lastPauses - this.#lifeStartPauses + 1;
    const countsMs = Math.max(0, ranMs / RATE_MAX - CLOCK_LAG_MS - 2 * this.#commitMsMax - rests * REST_MS);
    for (const awaited of this.#awaitedMs.values()) {
      if (awaited.life === this.#life) awaited.ms += countsMs;
    }
    this.#life++;
    this.#process = null;
  }

  read(nowMs: number): void {
    const process = this.#world.current;
    if (process === null) return;
    if (this.#process === null) {
      this.#lifeStartMs = process.runningMs;
      this.#lifeStartPauses = process.pauses;
    }
    this.#lastPauses = process.pauses;
    this.#lastRanMs = process.runningMs;
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
  restored(service: string, records: readonly DurableRecord[]): void {
    const isClean = records.some(({ type }) => type === "stopped");
    for (const { type, id, value } of records) {
      if (type !== "session") continue;
      const { leaseMs, awaitedUntilMs } = value as SessionRecord;
      const ms = isClean && awaitedUntilMs === undefined ? 0 : (this.#awaitedMs.get(id)?.ms ?? 0);
      this.#awaitedMs.set(id, { ms, life: this.#life });
      if (ms <= leaseMs + this.#lockDelayMs + SLACK_MS) continue;
      this.#world.violate(
        "R6",
        `${service} still waits for ${id}, after ${ms.toFixed()} ms of up time and more`,
      );
    }
  }

  /** The session is back: what it has left counts anew. */
  returned(session: string): void {
    this.#awaitedMs.delete(session);
  }
}
