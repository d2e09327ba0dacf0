import { expect, test } from "vitest";
import { nodeRuntime } from "../../src/loop/index.js";
import { Webhooks, type WebhooksOptions } from "../../src/webhooks/webhooks.js";
import { Records, recordOf, settled, VirtualTime } from "./stage.js";

/** The webhooks of one member, whose attempts hang until the test says that no name is known. */
function member(records: Records, chance = 0, options: Partial<WebhooksOptions> = {}) {
  const time = new VirtualTime();
  const attempts: (() => void)[] = [];
  const webhooks = new Webhooks({
    addresses: { allowPrivate: false, allowed: "" },
    pendingMax: 10,
    runtime: {
      monotonicMs: () => time.nowMs,
      wallMs: () => time.nowMs,
      randomId: nodeRuntime.randomId,
      setTimer: time.setTimer,
    },
    log: { info: () => {}, warn: () => {} },
    ...options,
    random: () => chance,
    lookup: () =>
      new Promise((_, reject) => {
        attempts.push(() => reject(Object.assign(new Error("nobody knows"), { code: "ENOTFOUND" })));
      }),
  });
  webhooks.restore([{ key: "default/webhook/secret", value: { secret: `whsec_${"A".repeat(32)}` } }]);
  webhooks.start(records);
  return { webhooks, time, attempts };
}

const goes = ({ id }: { readonly id: string }) => id === "goes";

test("[C5ka] of what is owed by a service that was handed over nothing is sent or written any more", async () => {
  const records = new Records();
  const { webhooks, time, attempts } = member(records, 0.5);
  const [inFlight, later, stays] = [1, 2, 3].map((number) =>
    recordOf(number, { service: number === 3 ? "stays" : "goes", url: `https://${number}.example/` }),
  );
  webhooks.owed("default/delivery/goes/1.0", inFlight!);
  webhooks.add([{ key: "default/delivery/goes/2.0", value: { ...later!, waitMs: 60_000 } }]);
  webhooks.owed("default/delivery/stays/3.0", stays!);
  await time.pass(10);
  expect(attempts.length).toBe(2);
  const again = webhooks.retry("default", later!.id, "ann");
  webhooks.drop(goes);
  await again;
  await time.pass(10);
  expect(attempts.length).toBe(2);
  records.all.clear();
  for (const end of attempts) end();
  await time.pass(10);
  expect([...records.all.keys()]).toEqual(["default/delivery/stays/3.0"]);
  expect(webhooks.page("default", { limit: 9 }).deliveries.map(({ id }) => id)).toEqual([stays!.id]);
  expect(webhooks.census()).toMatchObject({ pending: 1 });
  await time.pass(600_000);
  // That of the other is made again, and no other.
  expect(attempts.length).toBe(3);
  attempts[2]!();
  await settled();
  expect([...records.all.keys()]).toEqual(["default/delivery/stays/3.0"]);
  expect(await webhooks.retry("default", inFlight!.id, "ann")).toBeNull();
  await webhooks.stop();
});

test("[C5kb] the next member goes on with what is owed, and shows it among its own in the order of time", async () => {
  const records = new Records();
  const { webhooks, time, attempts } = member(records);
  webhooks.owed("default/delivery/stays/2.0", recordOf(2, { service: "stays" }));
  await settled();
  const pending = recordOf(1, { service: "goes", url: "https://1.example/", attempts: 3 });
  const delivered = recordOf(3, { service: "goes", status: "delivered", attempts: 1 });
  webhooks.add([
    { key: "default/delivery/goes/3.0", value: delivered },
    { key: "default/delivery/goes/1.0", value: pending },
  ]);
  const { deliveries } = webhooks.page("default", { limit: 9 });
  expect(deliveries.map(({ id }) => id)).toEqual(["msg_3", "msg_2", "msg_1"]);
  expect(webhooks.census()).toMatchObject({ pending: 2 });
  await time.pass(1_000);
  for (const end of attempts.splice(0)) end();
  await time.pass(10);
  expect(records.all.get("default/delivery/goes/1.0")).toMatchObject({ attempts: 4 });
  expect(records.all.has("default/delivery/goes/3.0")).toBe(false);
  webhooks.drop(goes);
  const rest = webhooks.page("default", { limit: 9 });
  expect(rest.deliveries.map(({ id }) => id)).toEqual(["msg_2"]);
  await webhooks.stop();
});

test("[C5kc] what a member has read of secrets stays when its store is opened anew: there is nothing of them in it", async () => {
  const putIfAbsent = () => Promise.reject(new Error("there is one"));
  const { webhooks } = member(new Records(), 0, { putIfAbsent });
  const value = { secret: `whsec_${"B".repeat(32)}` };
  webhooks.readSecrets({ isWhole: false, changes: [{ key: "default/webhook/secret", value }] });
  webhooks.restore([]);
  expect(await webhooks.secret("default")).toMatchObject(value);
  await webhooks.stop();
});
