import { expect, test } from "vitest";
import { Access, AccountShares, LIMITS_TRIAL, type Share } from "../../src/access/index.js";
import { AuditLog } from "../../src/loop/index.js";
import { VirtualTime } from "../webhooks/stage.js";

const ACCOUNT = "acc_0000000001";
const BEAT_MS = 500;
const NOTHING = { holds: 0, sessions: 0, waiters: 0, services: 0, deliveries: 0, connections: 0, acts: 0 };

/** What a member of a cluster has of accounts. */
class Part {
  readonly shares = new AccountShares();
  readonly access: Access;
  readonly #time: VirtualTime;

  constructor(time: VirtualTime, limits: object = {}) {
    this.#time = time;
    const runtime = { monotonicMs: () => time.nowMs, wallMs: () => time.nowMs, setTimer: time.setTimer };
    this.access = new Access({ runtime, accountsMax: 10, shares: this.shares });
    const record = { createdAt: "2026-01-01T00:00:00.000Z", email: null, trialEndsAt: null };
    const secrets = [{ hash: "0".repeat(64), endsAt: null }];
    const key = { name: "a", scopes: ["lock"], services: null, createdBy: "a", expiresAt: null, secrets };
    this.access.restore([
      { key: `${ACCOUNT}/account`, value: { ...record, trialEndsAt: "2999-01-01T00:00:00.000Z", limits } },
      { key: "acc_0000000002/account", value: record },
      { key: `${ACCOUNT}/key/k`, value: { ...key, createdAt: null, lastUsedAt: null } },
    ]);
  }

  get account() {
    return [...this.access.limited()][0]!;
  }

  get told(): Share | null {
    const requests = this.account.recent.count(this.#time.nowMs);
    return this.shares.told(this.access.limited(), () => ({ ...NOTHING, requests }));
  }

  /** Somebody makes a request. */
  take(): boolean {
    const isTaken = this.account.rate!.take(this.#time.nowMs);
    if (isTaken) this.account.recent.add(this.#time.nowMs);
    return isTaken;
  }
}

/** Members of which each is asked so many times a second. @returns how many requests each has taken, second by second */
async function play(wishes: readonly number[], seconds: number): Promise<number[][]> {
  const time = new VirtualTime();
  const parts = wishes.map(() => new Part(time));
  const taken = wishes.map(() => new Array<number>(seconds).fill(0));
  const STEP_MS = 10;
  for (let atMs = 0; atMs < seconds * 1_000; atMs += STEP_MS) {
    for (const [at, part] of parts.entries()) {
      const wish = wishes[at]!;
      const due = Math.floor(((atMs + STEP_MS) * wish) / 1_000) - Math.floor((atMs * wish) / 1_000);
      for (let count = 0; count < due; count++) if (part.take()) taken[at]![Math.floor(atMs / 1_000)]!++;
      // Their beats are not at the same time.
      if (atMs % BEAT_MS !== 100 * at) continue;
      for (const other of parts.filter((each) => each !== part)) {
        const heard = parts.filter((each) => each !== other).flatMap((each) => each.told ?? []);
        other.shares.hear(heard, parts.length);
      }
    }
    time.nowMs += STEP_MS;
  }
  return taken;
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

test("[A5ya] what an account has at other members counts against each of its limits, until they say that it has less", () => {
  const { access, shares } = new Part(new VirtualTime());
  const accounts = { [ACCOUNT]: [10, 20, 30, 4, 50, 60, 0, 0] };
  shares.hear([{ accounts }, { accounts: { ...accounts, other: [1, 1, 1, 1, 1, 1, 1, 1] } }], 3);
  expect(access.leftOf(ACCOUNT)).toEqual({
    ...LIMITS_TRIAL,
    holds: 1_000 - 2 * 40,
    sessions: 100 - 40,
    waiters: 1_000 - 60,
    services: 20 - 8,
    deliveries: 1_000 - 100,
    connections: 200 - 120,
  });
  expect(access.limitsOf(ACCOUNT)).toEqual(LIMITS_TRIAL);
  expect([access.leftOf("default"), access.leftOf("acc_0000000002")?.holds]).toEqual([null, null]);
  shares.hear([{ accounts: { [ACCOUNT]: [0, 500] } }], 2);
  expect(access.leftOf(ACCOUNT)).toEqual({ ...LIMITS_TRIAL, sessions: 0 });
  shares.hear([], 1);
  expect(access.leftOf(ACCOUNT)).toEqual(LIMITS_TRIAL);
});

test("[A5yb] an account's requests a second are counted over all members: where others make none, one may make them all", async () => {
  const alone = (await play([200, 0], 6))[0]!;
  expect(sum(alone.slice(1))).toBeGreaterThan(5 * 49);
  expect(sum(alone.slice(1))).toBeLessThanOrEqual(5 * 51);
});

test("[A5yc] members that all want more than an account may make no more together, but for the first second, and none goes without", async () => {
  for (const wishes of [
    [200, 200],
    [200, 200, 200],
    [200, 10],
    [30, 30],
  ]) {
    const taken = await play(wishes, 12);
    const after = taken.map((seconds) => sum(seconds.slice(2)) / 10);
    expect(sum(after), `${wishes}`).toBeLessThanOrEqual(50 * 1.1);
    expect(sum(after), `${wishes}`).toBeGreaterThan(50 * 0.85);
    for (const [at, rate] of after.entries())
      expect(rate, `${wishes}`).toBeGreaterThanOrEqual(0.9 * Math.min(wishes[at]!, 50 / wishes.length));
    // What is asked of all at once before any of them has heard of the others.
    expect(sum(taken.map(([first]) => first!))).toBeLessThanOrEqual(2 * 50 * wishes.length);
  }
});

test("[A5yd] an account that may make one request a second can make it at any member", () => {
  const time = new VirtualTime();
  const part = new Part(time, { requestsPerSecond: 1 });
  part.shares.hear([{ accounts: { [ACCOUNT]: [0, 0, 0, 0, 0, 0, 0, 1] } }], 3);
  expect([part.take(), part.take()]).toEqual([true, false]);
  time.nowMs += 3_000;
  expect(part.take()).toBe(true);
});

test("[A5ye] what is told is bounded, and of most accounts those are told that are nearest to their limits", () => {
  const part = new Part(new VirtualTime());
  const accounts = Array.from({ length: 5_000 }, (_, at) => ({
    id: `acc_${String(at).padStart(10, "0")}`,
    limits: LIMITS_TRIAL,
  }));
  const told = part.shares.told(accounts as never, ({ id }) => ({
    ...NOTHING,
    ...{ requests: 0, holds: 1, sessions: Number(id.slice(4)) % 100 },
  }));
  expect(JSON.stringify(told).length).toBeLessThan(64 * 1_024);
  const sessions = Object.values(told!.accounts).map((numbers) => numbers[1]!);
  expect(sessions.length).toBeGreaterThan(500);
  expect(Math.min(...sessions)).toBeGreaterThan(70);
  expect(part.shares.told(accounts as never, () => ({ ...NOTHING, requests: 0 }))).toBeNull();
  // Of one without limits nothing is told.
  expect([...part.access.limited()].map(({ id }) => id)).toEqual([ACCOUNT]);
});

test("[A5yf] entries that other members have added to the audit log count, each once, also when these are gone", () => {
  const cluster = { memberId: "me-1_x" };
  const log = new AuditLog(() => 0, cluster);
  const key = (number: number, by: string) =>
    `${ACCOUNT}/audit/1970-01-01T00:00:00.000Z-00000000${number}-5${by}`;
  log.restore([key(1, ""), key(2, "-you-2"), key(3, "-you-2")].map((each) => ({ key: each, value: {} })));
  expect([log.countOf(ACCOUNT), log.ownOf(ACCOUNT)]).toEqual([3, 0]);
  // What it says of itself is known in part.
  log.heard("you-2", ACCOUNT, 2);
  expect(log.countOf(ACCOUNT)).toBe(3);
  log.heard("you-2", ACCOUNT, 5);
  log.record({ account: ACCOUNT, who: "a", what: "b" }, 1);
  expect([log.countOf(ACCOUNT), log.ownOf(ACCOUNT)]).toEqual([7, 1]);
  log.heard("you-2", ACCOUNT, 0);
  expect(log.countOf(ACCOUNT)).toBe(7);
});
