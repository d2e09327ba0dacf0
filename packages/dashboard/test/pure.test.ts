/** What the page computes, without a browser. */
import type { LockInfo, ServiceEvent } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import { shellAddress } from "../src/address.js";
import type { Stats } from "../src/api.js";
import { concernsOf } from "../src/attention.js";
import { span } from "../src/format.js";
import { History } from "../src/history.js";
import { lanesOf } from "../src/lanes.js";
import { LiveLocks } from "../src/live-locks.js";
import { routeIn, toHash } from "../src/route.js";

const AT_MS = Date.parse("2026-11-26T03:00:00.000Z");

function happened(
  type: ServiceEvent["type"],
  afterMs: number,
  more: Partial<ServiceEvent> = {},
): ServiceEvent {
  return { type, names: ["disk"], owner: "ann", at: new Date(AT_MS + afterMs).toISOString(), ...more };
}

function lock(name: string, more: Partial<LockInfo> = {}): LockInfo {
  return {
    name,
    held: true,
    holders: [],
    holderCount: 0,
    queue: [],
    queueLength: 0,
    recovering: false,
    ...more,
  };
}

function holder(token: number, heldForMs = 0): LockInfo["holders"][number] {
  const rest = { owner: "ann", state: "held", mode: "exclusive", detached: false, metadata: {} } as const;
  return { token, heldForMs, expiresInMs: 5_000, ...rest };
}

function waiter(ticket: number, waitingForMs = 0): LockInfo["queue"][number] {
  return { ticket, waitingForMs, owner: "bob", mode: "exclusive", away: false };
}

describe("a command for a shell", () => {
  test.each([
    ["http://127.0.0.1:5625/", "http://127.0.0.1:5625"],
    ["https://locks.example.com/", "https://locks.example.com"],
    ["https://tools.example.com/lock-db/", "https://tools.example.com/lock-db"],
    ["http://[::1]:5625/", "http://[::1]:5625"],
  ])("[A4sm] has the address that the browser is at: %s", (base, shown) => {
    expect(shellAddress(base)).toBe(shown);
  });

  test.each(["$(reboot).example.com", "x;reboot", "a`b`", "a&b", "x'y", "ü.example", "x y"])(
    "[A4sn] has none that a shell could take for more: %s",
    (host) => {
      expect(shellAddress(`https://${host}/`)).toBe("https://address-of-this-server");
      expect(shellAddress(`https://example.com/${host}/`)).toBe("https://address-of-this-server");
    },
  );
});

describe("a list that events keep up", () => {
  test("[I5wa] grants, queues and ends; an event that is told twice changes nothing", () => {
    const list = new LiveLocks("");
    list.addPage(
      [lock("disk", { holders: [holder(1)], holderCount: 1, queue: [waiter(7)], queueLength: 1 })],
      AT_MS,
    );
    const rows = () => list.rows().map(({ name, holder: has, waiting }) => [name, has?.token, waiting]);
    expect(rows()).toEqual([["disk", 1, 1]]);
    list.apply([happened("queued", 1, { ticket: 8 }), happened("queued", 1, { ticket: 8 })]);
    expect(rows()).toEqual([["disk", 1, 2]]);
    list.apply([happened("released", 2, { token: 1 }), happened("granted", 2, { token: 2, ticket: 7 })]);
    list.apply([happened("granted", 2, { token: 2, ticket: 7 }), happened("left", 3, { ticket: 8 })]);
    expect(rows()).toEqual([["disk", 2, 0]]);
    list.apply([happened("expired", 4, { token: 2, closedForMs: 5_000 })]);
    expect(list.rows()[0]?.holder).toMatchObject({ isClosed: true });
    list.apply([happened("opened", 5, { token: 2 })]);
    expect(rows()).toEqual([]);
  });

  test("[I5wb] what is new is added once all was listed, and only what begins as asked", () => {
    const list = new LiveLocks("di");
    list.apply([happened("granted", 0, { token: 1 })]);
    expect(list.size).toBe(0);
    list.isWhole = true;
    list.apply([happened("granted", 0, { token: 1 }), happened("granted", 0, { token: 2, names: ["tape"] })]);
    expect(list.rows().map(({ name }) => name)).toEqual(["disk"]);
  });

  test("[I5wc] of queues longer than a list shows it counts", () => {
    const list = new LiveLocks("");
    list.addPage(
      [lock("disk", { holders: [holder(1)], holderCount: 1, queue: [waiter(1)], queueLength: 40 })],
      AT_MS,
    );
    list.apply([happened("left", 0, { ticket: 30 }), happened("queued", 0, { ticket: 50 })]);
    expect(list.rows()[0]?.waiting).toBe(40);
  });
});

describe("a time line", () => {
  test("[I5wd] has a lane for each owner: holds, waits, and how they ended", () => {
    const events = [
      happened("granted", 0, { token: 1 }),
      happened("queued", 100, { owner: "bob", ticket: 1 }),
      happened("expired", 500, { token: 1 }),
      happened("granted", 500, { owner: "bob", token: 2, ticket: 1 }),
      happened("queued", 600, { owner: "eve", ticket: 2 }),
      happened("left", 700, { owner: "eve", ticket: 2, reason: "timed out" }),
      happened("forced", 900, { owner: "bob", token: 2, reason: "it hangs" }),
      happened("granted", 950, { names: ["tape"], owner: "dan", token: 3 }),
    ];
    const lanes = lanesOf("disk", events, null, AT_MS, AT_MS + 1_000);
    expect(lanes.map(({ owner }) => owner)).toEqual(["bob", "eve", "ann"]);
    expect(lanes[0]).toMatchObject({
      bars: [{ token: 2, fromMs: AT_MS + 500, toMs: AT_MS + 900, end: "forced", reason: "it hangs" }],
      waits: [{ fromMs: AT_MS + 100, toMs: AT_MS + 500, reason: "" }],
    });
    expect(lanes[1]?.waits).toMatchObject([{ toMs: AT_MS + 700, reason: "timed out" }]);
    expect(lanes[2]?.bars).toMatchObject([{ end: "expired" }]);
  });

  test("[I5we] what began before anybody watched comes from the lock itself; what is over long ago is left out", () => {
    const info = lock("disk", {
      holders: [holder(9, 30_000)],
      holderCount: 1,
      queue: [waiter(4, 20_000)],
      queueLength: 1,
    });
    const old = [
      happened("granted", -900_000, { token: 1 }),
      happened("released", -800_000, { token: 1, owner: "old" }),
    ];
    const lanes = lanesOf("disk", old, info, AT_MS, AT_MS);
    expect(lanes.map(({ owner }) => owner)).toEqual(["ann", "bob"]);
    expect(lanes[0]?.bars.find(({ token }) => token === 9)).toMatchObject({
      fromMs: AT_MS - 30_000,
      toMs: null,
    });
    expect(lanes[1]?.waits).toMatchObject([{ fromMs: AT_MS - 20_000, toMs: null }]);
  });
});

describe("numbers", () => {
  const stats = (granted: number, slow: number, expired = 0): Stats => ({
    ...{ service: "s", recovering: false, sessions: 1, holds: 3, locks: 3, waiters: 2 },
    ...{ granted, queued: 0, deadlocks: 0, released: 0, expired, forced: 0 },
    waits: [
      { withinMs: 1, count: granted - slow },
      { withinMs: 500, count: slow },
      { withinMs: null, count: 0 },
    ],
  });

  test("[I5wf] rates and the slowest waits are differences; a server that begins anew is no fall", () => {
    const history = new History();
    history.add(stats(1_000, 500), AT_MS);
    expect(history.numbers.at(-1)).toMatchObject({ grantsPerS: null, waitP99Ms: null });
    history.add(stats(1_200, 500), AT_MS + 2_000);
    expect(history.numbers.at(-1)).toMatchObject({ grantsPerS: 100, waitP99Ms: 1 });
    history.add(stats(1_300, 504, 3), AT_MS + 4_000);
    expect(history.numbers.at(-1)).toMatchObject({ grantsPerS: 75, waitP99Ms: 500 });
    expect(history.lately).toEqual({ forMs: 4_000, expired: 3, forced: 0, deadlocks: 0 });
    history.add(stats(5, 0), AT_MS + 6_000);
    expect(history.numbers.at(-1)).toMatchObject({ grantsPerS: null });
    expect(history.numbers).toHaveLength(4);
  });

  test("[I5wg] spans are short", () => {
    const shown = [0, 40, 1_500, 61_000, 3_600_000, 90_061_000].map((ms) => span(ms));
    expect(shown).toEqual(["0 s", "40 ms", "1 s", "1 m 1 s", "1 h", "1 d 1 h"]);
    expect(span(2_500, true)).toBe("2.5 s");
  });
});

describe("what needs attention", () => {
  const facts = { service: "s", stats: null, lately: null, deliveries: null, account: null };

  test("[I5wh] a hold that others wait for comes first, then long queues; a leader is no concern", () => {
    const leader = { ...holder(4, 9_000_000), leads: true as const };
    const concerns = concernsOf({
      ...facts,
      contention: {
        hottest: [
          lock("queue", { holders: [holder(1, 10)], queue: [waiter(1, 50)], queueLength: 12 }),
          lock("stuck", { holders: [holder(2, 90_000)], queue: [waiter(2, 80_000)], queueLength: 1 }),
        ].map((each) => ({ lock: each })),
        longestWaits: [{ name: "slow", waiter: waiter(3, 40_000), holder: null, queueLength: 1 }],
        oldestHolds: [
          { name: "leader", holder: leader, queueLength: 0 },
          { name: "old", holder: holder(3, 7_200_000), queueLength: 0 },
        ],
      },
    });
    expect(concerns.map(({ name, tone }) => [name, tone])).toEqual([
      ["stuck", "bad"],
      ["queue", "wait"],
      ["slow", "wait"],
      ["old", "plain"],
    ]);
  });

  test("[I5wi] so are holds that ran out, webhooks that fail, and a trial that ends", () => {
    const delivery = {
      id: "m",
      service: "s",
      lockName: "a",
      url: "https://x",
      createdAt: "",
      lastError: "answered 503",
    };
    const account = {
      id: "acc_1",
      email: null,
      createdAt: "",
      trialEndsAt: "",
      daysLeft: 2,
      limits: {},
      use: {},
    };
    const concerns = concernsOf({
      ...facts,
      contention: null,
      lately: { forMs: 60_000, expired: 2, forced: 0, deadlocks: 1 },
      deliveries: [{ ...delivery, status: "pending", attempts: 3 }],
      account,
    });
    expect(concerns.map(({ key }) => key)).toEqual(["expired", "deadlocks", "webhooks", "trial"]);
  });
});

describe("a link", () => {
  test.each(["a", "..", "a/b?c#d%2Fe&f=g", "ü 😈", "%", "</script>"])(
    "[I5wj] leads to the lock of any name: %s",
    (name) => {
      const there = { screen: "lock", service: "billing", name } as const;
      expect(routeIn(toHash(there))).toEqual(there);
      const list = { screen: "locks", service: "billing", prefix: name, only: "waited" } as const;
      expect(routeIn(toHash(list))).toEqual(list);
    },
  );

  test("[I5wk] one that leads nowhere leads to the start", () => {
    for (const hash of ["", "#", "#/nothing", "#/s", "#/keys/x"])
      expect(routeIn(hash)).toEqual({ screen: "start" });
  });
});
