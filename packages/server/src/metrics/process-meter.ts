import { readdirSync, readFileSync } from "node:fs";
import { Histogram } from "../engine/index.js";

const LAG_SPANS_MS = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];
/** How often it is looked how late this process is. */
const LOOK_MS = 250;

/** How this process is: what it uses, and how late its event loop comes to things. */
export class ProcessMeter {
  readonly lagMs = new Histogram(LAG_SPANS_MS);
  readonly startedAtS = Date.now() / 1_000 - process.uptime();
  readonly maxFds = maxFds();
  #dueMs = 0;
  #timer: NodeJS.Timeout | undefined;

  /** Looks from now on. Keeps no process alive. */
  start(): void {
    this.#dueMs = performance.now() + LOOK_MS;
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      this.lagMs.observe(Math.max(0, nowMs - this.#dueMs));
      this.#dueMs = nowMs + LOOK_MS;
    }, LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get upMs(): number {
    return process.uptime() * 1_000;
  }

  get cpuS(): { readonly user: number; readonly system: number } {
    const { user, system } = process.cpuUsage();
    return { user: user / 1e6, system: system / 1e6 };
  }

  /** Time that the event loop was not idle. */
  get busyS(): number {
    return performance.eventLoopUtilization().active / 1_000;
  }

  get memory(): { readonly rss: number; readonly heapUsed: number } {
    return process.memoryUsage();
  }

  /** Null where this system does not tell. */
  get openFds(): number | null {
    try {
      // But for the one that this itself needs.
      return readdirSync("/proc/self/fd").length - 1;
    } catch {
      return null;
    }
  }
}

function maxFds(): number | null {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return soft === undefined ? null : Number(soft);
  } catch {
    return null;
  }
}
