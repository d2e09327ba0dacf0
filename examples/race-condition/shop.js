// One of the shop's three services: a process of its own that takes orders over HTTP.
// All three sell the same teapots, and the stock is in one database file that they share.
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { open } from "lmdb";
import LockDB from "lockdb";

const [databasePath, lockUse] = process.argv.slice(2);
const db = open({ path: databasePath, encoding: "json" });
const locker = new LockDB("shop"); // LOCKDB_SERVER_URL and LOCKDB_API_KEY say where the server is.

/** The bug. While this order waits for its payment, other orders read the same stock. */
async function orderWithoutLock(order) {
  const left = readStock();
  if (left === 0) return "sold out";
  await askPaymentProvider();
  await writeSale(order, { left: left - 1 });
  return "sold";
}

/** The fix. The same lines, inside a lock: from the read to the write, nobody else is in between. */
async function orderWithLock(order) {
  return await locker.withLock("stock/teapot", async (lease) => {
    const left = readStock();
    if (left === 0) return "sold out";
    await askPaymentProvider();
    await writeSale(order, { left: left - 1, token: lease.token });
    return "sold";
  });
}

function readStock() {
  // A read sees every commit up to now, those of the other processes too. Without this line, LMDB
  // may answer from a snapshot some milliseconds old, and we would be showing another bug than the race.
  db.resetReadTxn();
  return db.get("stock");
}

/** A few milliseconds of somebody else's time. No database transaction can stay open across this. */
async function askPaymentProvider() {
  await sleep(5 + Math.random() * 10);
}

/** Stock and sale are written together. When this returns they are committed and on the disk. */
async function writeSale(order, { left, token = null }) {
  await db.transaction(() => {
    db.putSync("stock", left);
    db.putSync(`sale/${order}`, { service: process.pid, token });
  });
  await db.flushed;
}

const takeOrder = lockUse === "with-lock" ? orderWithLock : orderWithoutLock;

/** `POST /orders/17` answers `sold` or `sold out`. */
const server = createServer(async (request, response) => {
  const order = /^\/orders\/(\d{1,9})$/.exec(request.url)?.[1];
  if (request.method !== "POST" || order === undefined) {
    response.writeHead(404).end("Try POST /orders/17.");
    return;
  }
  try {
    response.end(await takeOrder(order));
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});

server.listen(0, "127.0.0.1", () => {
  process.send({ port: server.address().port }, (error) => {
    if (error !== null) void end();
  });
});

// The demo ends a service by hanging up. That also happens when the demo itself is killed.
process.once("disconnect", end);

async function end() {
  setTimeout(() => process.exit(1), 1_500);
  await locker.close();
  await db.close();
  process.exit(0);
}

// Ctrl-C reaches every process of the terminal. The demo decides what it means.
process.on("SIGINT", () => {});
