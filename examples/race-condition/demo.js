// Sells the last 20 teapots to 60 customers through three services: once without LockDB, once with it.
// Exit code: 0 as it should be, 1 the run with LockDB is wrong or the demo broke, 2 the run without
// LockDB was right by luck, 130 or 143 stopped by a signal.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { serve } from "@lockdb/server";
import { open } from "lmdb";

const STOCK = 20;
const ORDERS = 60;
const SERVICES = 3;
const TIME_MS_MAX = 12_000;
const SHOP = fileURLToPath(new URL("shop.js", import.meta.url));

/** Aborted by a signal, by the time limit, or by a service that dies. Everything below stops on it. */
const stop = new AbortController();

/** What has to be undone at the end, whatever happened; the last first. */
const cleanups = [];

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    process.exitCode = 128 + constants.signals[signal];
    stop.abort(new Error(`Stopped by ${signal}.`));
  });
}
const timer = setTimeout(
  () => stop.abort(new Error(`Not done after ${TIME_MS_MAX / 1_000} s.`)),
  TIME_MS_MAX,
);

// Nothing should keep this process alive after its work. If something does, it says so and does not hang.
setTimeout(() => {
  console.error("Something of the demo could not be closed.");
  process.exit(process.exitCode || 1);
}, TIME_MS_MAX + 3_000).unref();

try {
  await demo();
} catch (error) {
  process.exitCode ||= 1;
  console.error(`The demo did not finish. ${stop.signal.aborted ? stop.signal.reason.message : error.stack}`);
} finally {
  clearTimeout(timer);
  for (const cleanup of cleanups.reverse()) await cleanup();
}

async function demo() {
  const server = await serve({ port: 0, store: "memory", logLevel: "warn" });
  cleanups.push(() => server.close());
  const folder = await mkdtemp(join(tmpdir(), "lockdb-demo-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

  console.log(`${SERVICES} services sell the last ${STOCK} teapots. ${ORDERS} customers order at once.\n`);
  const without = await sell("without-lock", join(folder, "without.mdb"), server);
  const withLock = await sell("with-lock", join(folder, "with.mdb"), server);
  const verdict = judge(without, withLock);
  process.exitCode = verdict.exitCode;
  console.log(`${table(without, withLock)}\n\n${verdict.sentence}`);
}

/** One run: a new stock, three new services, all orders at once. The result is what the database says. */
async function sell(lockUse, databasePath, server) {
  await withDatabase(databasePath, (db) => db.put("stock", STOCK));
  const services = await Promise.all(
    Array.from({ length: SERVICES }, () => startService(lockUse, databasePath, server)),
  );
  const startMs = performance.now();
  const replies = await Promise.all(
    Array.from({ length: ORDERS }, (_, order) => send(order, services[order % SERVICES])),
  );
  const tookMs = performance.now() - startMs;
  await Promise.all(services.map((service) => service.end()));

  return await withDatabase(databasePath, (db) => {
    const left = db.get("stock");
    const sold = db.getKeysCount({ start: "sale/", end: "sale0" }); // "0" is the character after "/".
    return {
      orders: replies.length,
      sold,
      left,
      oversold: Math.max(0, sold - STOCK),
      lostUpdates: sold - (STOCK - left), // Sales that the stock does not know of.
      tookMs,
    };
  });
}

async function startService(lockUse, databasePath, server) {
  stop.signal.throwIfAborted();
  const child = fork(SHOP, [databasePath, lockUse], {
    env: { ...process.env, LOCKDB_SERVER_URL: server.url, LOCKDB_API_KEY: server.rootKey },
    execArgv: [],
  });
  let ending = false;
  const exited = new Promise((resolve) => {
    child.once("error", resolve); // It could not be started; `once` below says why.
    child.once("exit", (code) => {
      if (!ending) stop.abort(new Error(`A service ended by itself (exit code ${code}).`));
      resolve();
    });
  });
  const end = async () => {
    ending = true;
    if (child.connected) child.disconnect();
    const killer = setTimeout(() => child.kill("SIGKILL"), 2_000);
    await exited;
    clearTimeout(killer);
  };
  cleanups.push(end);
  const [{ port }] = await once(child, "message", { signal: stop.signal });
  return { url: `http://127.0.0.1:${port}`, end };
}

async function send(order, service) {
  const response = await fetch(`${service.url}/orders/${order}`, { method: "POST", signal: stop.signal });
  const reply = await response.text();
  if (!response.ok) throw new Error(`Order ${order} was answered ${response.status}: ${reply}`);
  return reply;
}

async function withDatabase(path, use) {
  const db = open({ path, encoding: "json" });
  try {
    return await use(db);
  } finally {
    await db.close();
  }
}

function table(without, withLock) {
  const seconds = (run) => `${(run.tookMs / 1_000).toFixed(2)} s`;
  return [
    ["", "without LockDB", "with LockDB"],
    ["in stock at start", STOCK, STOCK],
    ["orders taken", without.orders, withLock.orders],
    ["sold", without.sold, withLock.sold],
    ["in stock at the end", without.left, withLock.left],
    ["oversold", without.oversold, withLock.oversold],
    ["lost updates", without.lostUpdates, withLock.lostUpdates],
    ["time", seconds(without), seconds(withLock)],
  ]
    .map(([name, a, b]) => `  ${name.padEnd(20)}${String(a).padStart(16)}${String(b).padStart(16)}`)
    .join("\n");
}

function judge(without, withLock) {
  if (withLock.oversold !== 0 || withLock.lostUpdates !== 0 || withLock.sold !== STOCK) {
    return {
      exitCode: 1,
      sentence: `LockDB FAILED: with it, ${STOCK} teapots became ${withLock.sold} sales and ${withLock.lostUpdates} updates were lost.`,
    };
  }
  if (without.oversold === 0) {
    return {
      exitCode: 2,
      sentence:
        "Without LockDB nothing was oversold this time. That was luck, so this run shows nothing: run it again.",
    };
  }
  return {
    exitCode: 0,
    sentence: `Without LockDB, ${without.oversold} customers paid for a teapot that was not there; with LockDB, nobody did.`,
  };
}
