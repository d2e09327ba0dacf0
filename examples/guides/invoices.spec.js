// node --test examples/guides/invoices.spec.js
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, afterEach, before, test } from "node:test";
import { serve } from "@lockdb/server";
import LockDB from "lockdb";
import { sendOnce } from "./invoices.js";

let server;
const lockers = [];

before(async () => {
  server = await serve({ port: 0, store: "memory", logLevel: "silent" });
});
afterEach(() => Promise.all(lockers.splice(0).map((locker) => locker.close())));
after(() => server.close());

/** One instance of the service. Two of them are two clients, in one process or not. */
function instance(owner) {
  const locker = new LockDB("billing", { serverUrl: server.url, apiKey: server.rootKey, owner });
  lockers.push(locker);
  return locker;
}

test("an invoice that is being sent is not sent by another instance", async () => {
  const [one, two] = [instance("one"), instance("two")];
  let others;
  const sent = await sendOnce(one, { id: 42 }, async () => {
    others = await sendOnce(two, { id: 42 }, () => assert.fail("sent twice"));
  });
  assert.deepEqual([sent, others], [true, false]);
});

test("who loses the lock in the middle stops, and does not say that it was sent", async () => {
  const [one, operator] = [instance("one"), instance("operator")];
  const sending = sendOnce(one, { id: 43 }, async (_invoice, signal) => {
    const { holders } = await operator.inspect("invoice/43");
    await operator.forceRelease("invoice/43", holders[0].token, "a test");
    if (!signal.aborted) await once(signal, "abort");
  });
  await assert.rejects(sending, { code: "LOCK_LOST" });
});
