import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Child, clockMs, freePort, Processes, ROOT_KEY } from "./processes.js";

const LEASE_MS = 1_000;
/** How long a holder stands still, in leases. */
const [STOP_MIN, STOP_MAX] = [0.5, 3];
const HOLDERS = 12;
/** So many are stopped at a time. */
const STOPPED = 4;
const NAMES = ["number/0", "number/1", "number/2", "number/3"];
/** When one is stopped, in turn: it has just read; it has just looked at its clocks, and will write; or at any moment. */
const MOMENTS = ["read", "looked", "read", null] as const;
/** So many writes must have come too late, else it was too easy. */
const LATE_MIN = 3;
const RUN_MS = 14_000;
/** What a client takes off its lease, beside the hundredth (L2): nobody else has the lock so long after a good look. */
const MARGIN_MS = 200;

const processes = new Processes();
afterAll(() => processes.end());

interface Register {
  readonly name: string;
  readonly value: number;
  readonly writes: number;
  readonly refusedReads: number;
  readonly refusedWrites: number;
  readonly savedUpdates: number;
  readonly lostUpdates: number;
}

/** One time that somebody had a lock. */
interface Turn {
  readonly name: string;
  readonly token: number;
  /** When its holder knew of it. */
  readonly grantedMs: number;
  /** Before its holder looked at its clocks; null when it did not look. */
  readonly lookedMs: number | null;
  readonly wasHeld: boolean | null;
  /** `atMs`: when it came to the register. */
  readonly write: { readonly isTaken: boolean; readonly atMs: number } | null;
}

describe(`${HOLDERS} processes add to numbers, and are stopped for ${STOP_MIN} to ${STOP_MAX} leases meanwhile`, () => {
  let registers: readonly Register[] = [];
  let turns: readonly Turn[] = [];
  let stops = 0;

  beforeAll(async () => {
    const server = await processes.server();
    const registerPort = await freePort();
    const register = processes.script("register.mjs", { port: registerPort, names: NAMES });
    await register.next("ready");
    const target = { service: "fencing", serverUrl: server.url, apiKey: ROOT_KEY };
    const holders = Array.from({ length: HOLDERS }, () =>
      processes.script("register-holder.mjs", { ...target, lease: LEASE_MS, registerPort, names: NAMES }),
    );
    await Promise.all(holders.map((holder) => holder.next("read")));

    const endMs = clockMs() + RUN_MS;
    const groups = Array.from({ length: STOPPED }, (_, at) => {
      return holders.filter((_, holder) => holder % STOPPED === at);
    });
    const counts = await Promise.all(groups.map((group) => stopOneAfterTheOther(group, endMs)));
    stops = counts.reduce((sum, count) => sum + count, 0);
    turns = (await Promise.all(holders.map((holder) => holder.call<readonly Turn[]>("stop")))).flat();
    registers = await register.call<readonly Register[]>("all");
  }, 90_000);

  test("[F1r] a register that looks at tokens loses no update, whoever stood still between reading and writing", () => {
    const sum = (count: (register: Register) => number) =>
      registers.reduce((total, register) => total + count(register), 0);
    const [writes, refused] = [sum((one) => one.writes), sum((one) => one.refusedWrites)];
    const [saved, lost] = [sum((one) => one.savedUpdates), sum((one) => one.lostUpdates)];
    console.info(
      `[F1r] ${stops} stops of ${HOLDERS} holders: ${writes} writes taken, numbers add up to ${sum((one) => one.value)}; ` +
        `${refused} late writes and ${sum((one) => one.refusedReads)} late reads refused for their token; without that ` +
        `${saved} updates would have been lost; ${lost} were`,
    );
    for (const { value, writes, lostUpdates } of registers) {
      expect(value).toBe(writes);
      expect(lostUpdates).toBe(0);
    }
    expect(turns.filter(({ write }) => write?.isTaken)).toHaveLength(writes);
    expect(turns.filter(({ write }) => write?.isTaken === false)).toHaveLength(refused);
    expect(refused).toBeGreaterThanOrEqual(LATE_MIN);
    expect(saved).toBeGreaterThan(0);
  });

  test("[L5y] nobody who looks at its clocks finds its hold good when the lock is somebody else's", () => {
    const good = turns.filter(({ wasHeld }) => wasHeld);
    const inVain = turns.filter(({ wasHeld }) => wasHeld === false);
    const together: string[] = [];
    for (const { name, token, lookedMs } of good) {
      const next = turns.find(
        (turn) => turn.name === name && turn.token > token && turn.grantedMs <= lookedMs!,
      );
      if (next !== undefined) together.push(`${name}: #${token} when #${next.token} was held`);
    }
    // Only the token keeps these out, whatever clocks say.
    const late = good.filter(({ write }) => write?.isTaken === false);
    const lateMs = late.map(({ lookedMs, write }) => write!.atMs - lookedMs!);
    console.info(
      `[L5y] ${good.length} looks found the hold good, ${together.length} of them when somebody else had the lock; ` +
        `${inVain.length} kept a write back; ${late.length} writes came too late after a good look` +
        (late.length === 0 ? "" : `, ${Math.min(...lateMs).toFixed(0)} ms after it and more`),
    );
    expect(together).toEqual([]);
    expect(inVain.length).toBeGreaterThan(0);
    // Whoever was refused after a good look had stood still in between: the next holder comes no sooner.
    expect(lateMs.filter((ms) => ms < MARGIN_MS)).toEqual([]);
  });
});

/** Gives how many times it has stopped one. */
async function stopOneAfterTheOther(group: readonly Child[], endMs: number): Promise<number> {
  let count = 0;
  while (clockMs() < endMs) {
    const holder = group[Math.floor(Math.random() * group.length)]!;
    const moment = MOMENTS[count % MOMENTS.length]!;
    if (moment === null) await setTimeout(Math.random() * LEASE_MS);
    else {
      holder.forget(moment);
      await holder.next(moment);
    }
    holder.signal("SIGSTOP");
    await setTimeout((STOP_MIN + Math.random() * (STOP_MAX - STOP_MIN)) * LEASE_MS);
    holder.signal("SIGCONT");
    count++;
  }
  return count;
}
