import { describe, expect, test } from "vitest";
import { nodeRuntime } from "../../src/loop/index.js";
import type { DeliveryRecord } from "../../src/webhooks/delivery.js";
import { Webhooks } from "../../src/webhooks/webhooks.js";
import { Records, recordOf, settled, VirtualTime } from "./stage.js";

const SILENT = { info: () => {}, warn: () => {} };

function runtimeOn(time: VirtualTime) {
  const now = () => time.nowMs;
  return { monotonicMs: now, wallMs: now, randomId: nodeRuntime.randomId, setTimer: time.setTimer };
}

/** The webhooks of a server in virtual time, on these records. Nothing of it can be sent: no name is known. */
function webhooksOn(records: Records, time = new VirtualTime()) {
  const runtime = runtimeOn(time);
  const webhooks = new Webhooks({
    addresses: { allowPrivate: false, allowed: "" },
    pendingMax: 10,
    runtime,
    log: SILENT,
    random: () => 0,
    lookup: async () => {
      throw Object.assign(new Error("nobody knows"), { code: "ENOTFOUND" });
    },
  });
  webhooks.restore(records.records);
  webhooks.start(records);
  return webhooks;
}

function put(records: Records, number: number, more: Partial<DeliveryRecord>): void {
  records.all.set(`default/delivery/s/${number}.0`, recordOf(number, more));
}

describe("what is kept to be looked at", () => {
  test("[C5cc] a thousand that were delivered, and a thousand that were given up: those that ended last", async () => {
    const records = new Records();
    for (let number = 1; number <= 1_050; number++) {
      const attemptedAt = new Date(number).toISOString();
      put(records, number, { status: "delivered", attempts: 1, attemptedAt });
      // Begun long ago, and ended now.
      put(records, 5_000 + number, {
        status: "failed",
        attempts: 1,
        attemptedAt,
        createdAt: "1999-01-01T00:00:00.000Z",
      });
    }
    const webhooks = webhooksOn(records);
    await settled();
    for (const status of ["delivered", "failed"] as const) {
      const { deliveries, next } = webhooks.page("default", { limit: 5_000, status });
      expect([deliveries.length, next]).toEqual([1_000, null]);
    }
    const kept = [...records.all.keys()];
    expect(kept.length).toBe(2_000);
    for (const number of [51, 1_050, 5_051, 6_050]) expect(kept).toContain(`default/delivery/s/${number}.0`);
    for (const number of [1, 50, 5_001, 5_050]) expect(kept).not.toContain(`default/delivery/s/${number}.0`);
  });

  test("[C5cj] one more that is over takes the place of the oldest, in the same write", async () => {
    const records = new Records();
    for (let number = 1; number <= 1_000; number++) {
      put(records, number, { status: "failed", attemptedAt: new Date(number).toISOString() });
    }
    put(records, 2_000, { url: "https://last.example/" });
    const webhooks = webhooksOn(records);
    await settled();
    await webhooks.giveUp("default", "msg_2000", "ann");
    const kept = [...records.all.keys()].filter((key) => key.includes("/delivery/"));
    expect(kept.length).toBe(1_000);
    expect(kept).not.toContain("default/delivery/s/1.0");
    expect(records.all.get("default/delivery/s/2000.0")).toMatchObject({ status: "failed" });
  });

  test("[C5ck] a page goes on behind one that is kept no more", async () => {
    const records = new Records();
    for (let number = 1; number <= 1_000; number++) {
      put(records, number, { status: "failed", attemptedAt: new Date(number).toISOString() });
    }
    const webhooks = webhooksOn(records);
    const { next } = webhooks.page("default", { limit: 990 });
    expect(next).toBe(`${new Date(11).toISOString()}.msg_11`);
    for (let number = 2_001; number <= 2_012; number++) {
      webhooks.owed(`default/delivery/s/${number}.0`, recordOf(number));
      await webhooks.giveUp("default", `msg_${number}`, "ann");
      await settled();
      await webhooks.giveUp("default", `msg_${number}`, "ann");
    }
    expect(webhooks.page("default", { limit: 5, before: next! }).deliveries).toEqual([]);
    const other = webhooks.page("default", { limit: 990 });
    expect(other.deliveries.at(-1)!.id).toBe("msg_23");
  });

  test("[C5cl] each account sees its own, has its own secret, and its own limit", async () => {
    const records = new Records();
    for (let number = 1; number <= 10; number++) {
      records.all.set(`other/delivery/s/${number}.0`, recordOf(number));
    }
    const webhooks = webhooksOn(records);
    expect(webhooks.page("default", { limit: 10 }).deliveries).toEqual([]);
    expect(webhooks.page("other", { limit: 10 }).deliveries.length).toBe(10);
    expect([webhooks.isFull("default"), webhooks.isFull("other")]).toEqual([false, true]);
    expect(await webhooks.retry("default", "msg_1", "ann")).toBeNull();
    expect((await webhooks.secret("default")).secret).not.toBe((await webhooks.secret("other")).secret);
  });
});

describe("the secret of an account", () => {
  test("[C5cm] an old one signs until its time is over", async () => {
    const time = new VirtualTime();
    const webhooks = webhooksOn(new Records(), time);
    await webhooks.secret("default");
    await webhooks.rotate("default", 5_000, "ann");
    await time.pass(4_999);
    expect((await webhooks.secret("default")).old).not.toBeNull();
    await time.pass(1);
    expect((await webhooks.secret("default")).old).toBeNull();
  });

  test("[C5cn] is one, however many ask for it first; and none that could not be kept is told", async () => {
    const records = new Records();
    const webhooks = webhooksOn(records);
    records.works = false;
    await expect(webhooks.secret("default")).rejects.toThrow();
    records.works = true;
    const told = await Promise.all([1, 2, 3].map(() => webhooks.secret("default")));
    expect(new Set(told.map(({ secret }) => secret)).size).toBe(1);
    expect(records.all.get("default/webhook/secret")).toEqual({ secret: told[0]!.secret });
    records.works = false;
    await expect(webhooks.rotate("default", 1_000, "ann")).rejects.toThrow();
    expect(await webhooks.secret("default")).toEqual(told[0]);
  });
});

describe("what operators do", () => {
  test("[C5cz] a change of the secret, and a delivery that is given up by hand, are in the audit log", async () => {
    const records = new Records();
    const webhooks = webhooksOn(records);
    webhooks.owed("default/delivery/s/1.0", recordOf(1));
    await settled();
    await webhooks.rotate("default", 5_000, "ann");
    await webhooks.giveUp("default", "msg_1", "bob");
    const { acts } = records;
    expect(acts).toEqual([
      { account: "default", who: "ann", what: "webhook secret changed", details: { oldKeptMs: 5_000 } },
      { account: "default", who: "bob", what: "webhook given up", details: { id: "msg_1" } },
    ]);
    expect(JSON.stringify(acts)).not.toContain("whsec_");
  });
});

describe("a start", () => {
  test("[C5co] takes up what is pending, and nothing that is over", async () => {
    const records = new Records();
    put(records, 1, {});
    put(records, 2, { attempts: 3, ageMs: 100_000, waitMs: 40_000, error: "answered 500" });
    put(records, 3, { status: "delivered", attempts: 1 });
    put(records, 4, { status: "failed", attempts: 1 });
    const webhooks = webhooksOn(records);
    await settled();
    const shown = webhooks.page("default", { limit: 10 }).deliveries;
    expect(shown.map(({ id, status, attempts }) => [id, status, attempts])).toEqual([
      ["msg_4", "failed", 1],
      ["msg_3", "delivered", 1],
      ["msg_2", "pending", 4],
      ["msg_1", "pending", 1],
    ]);
    expect(records.all.get("default/delivery/s/2.0")).toMatchObject({ attempts: 4, error: "ENOTFOUND" });
  });

  test("[C5cp] what is owed before it has begun is sent then", async () => {
    const records = new Records();
    const time = new VirtualTime();
    const runtime = runtimeOn(time);
    const webhooks = new Webhooks({
      addresses: { allowPrivate: false, allowed: "" },
      pendingMax: 10,
      runtime,
      log: SILENT,
    });
    webhooks.restore([]);
    webhooks.owed("default/delivery/s/1.0", recordOf(1, { url: "http://127.0.0.1/" }));
    await settled();
    expect(records.all.size).toBe(0);
    webhooks.start(records);
    while (webhooks.page("default", { limit: 1 }).deliveries[0]!.attempts === 0) await settled();
    expect(records.all.get("default/delivery/s/1.0")).toMatchObject({
      error: expect.stringMatching(/no public/),
    });
  });
});
