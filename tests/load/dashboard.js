/**
 * What readers of events cost others, and whether the web page stays responsive: 100,000 locks, 10,000 events a second, five
 * readers, then the page itself in Chromium. Not a part of the tests: it wants a quiet machine and takes two minutes.
 * `node tests/load/dashboard.js [SECONDS A PHASE]`
 */
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

const LOCKS = 100_000;
const EVENTS_A_S = 10_000;
const READERS = 5;
const PHASE_MS = Number(process.argv[2] ?? 10) * 1_000;
const ROUNDS = 3;
const ROOT_KEY = "a-root-key-for-this-measurement";
const LONG_TASK_MS = 200;

const role = process.env.LOCKDB_LOAD_ROLE;
if (role === "clients") await clients();
else if (role === "readers") await readers();
else await main();

async function main() {
  const [alone, beside] = [[], []];
  for (let round = 1; round <= ROUNDS; round++) {
    // A new server each time: once somebody has read events, they are kept for ten minutes more.
    const { url, load, start, stop } = await serverUnderLoad();
    try {
      alone.push(await measured(load, url));
      const reading = await start("readers");
      await pause(1_000);
      beside.push(await measured(load, url));
      reading.send("stop");
      const [{ bytes }] = await once(reading, "message");
      console.log(
        `round ${round}: ${shown(alone.at(-1))} without readers, ${shown(beside.at(-1))} with ${READERS}, who read ${Math.round(bytes / 1e6)} MB`,
      );
      if (round === ROUNDS) await page(url);
    } finally {
      stop();
    }
  }
  const [a, b] = [median(alone.map(({ p99 }) => p99)), median(beside.map(({ p99 }) => p99))];
  console.log(`median of ${ROUNDS}: ${ms(a)} and ${ms(b)}: ${(b / a).toFixed(2)} times (to be below 2)`);
  const rates = [...alone, ...beside].map(({ cycles }) => Math.round((cycles * 2_000) / PHASE_MS));
  console.log(`events a second: ${rates.join(", ")} (to be ${EVENTS_A_S})`);
}

async function serverUnderLoad() {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const bin = fileURLToPath(new URL("../../packages/lockdb/bin/lockdb.js", import.meta.url));
  const server = spawn(process.execPath, [bin, "serve", "--port", String(port), "--store", "memory"], {
    env: { ...process.env, LOCKDB_ROOT_KEY: ROOT_KEY },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const children = [server];
  const start = async (name) => {
    const env = { ...process.env, LOCKDB_LOAD_ROLE: name, URL: url };
    const child = fork(fileURLToPath(import.meta.url), { env });
    children.push(child);
    await once(child, "message");
    return child;
  };
  const stop = () => {
    for (const child of children) child.kill("SIGKILL");
  };
  await until(async () => (await fetch(`${url}/readyz`)).ok);
  return { url, load: await start("clients"), start, stop };
}

async function measured(load, url) {
  const before = await cpuS(url);
  load.send(PHASE_MS);
  const [result] = await once(load, "message");
  const usPerEvent = (((await cpuS(url)) - before) * 1e6) / (result.cycles * 2);
  return { ...result, usPerEvent };
}

/** What the server has used of a processor: it does not depend on who else uses the machine. */
async function cpuS(url) {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${ROOT_KEY}` } });
  const lines = (await response.text()).matchAll(/^lockdb_process_cpu_seconds_total\S* (\S+)$/gm);
  return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** Holds all those locks, takes and gives back others all the time, and measures some of that. */
async function clients() {
  const { default: LockDB } = await import("lockdb");
  const open = (owner) =>
    new LockDB("load", { serverUrl: process.env.URL, apiKey: ROOT_KEY, owner, lease: "30s" });
  const [holder, worker, probe] = [open("holder"), open("worker"), open("probe")];
  for (let n = 0; n < LOCKS; n += 5_000)
    await Promise.all(
      Array.from({ length: 5_000 }, (_, at) => holder.acquire(`held/${String(n + at).padStart(6, "0")}`)),
    );
  let [cycles, count] = [0, 0];
  let dueAtMs = performance.now();
  const cycle = async () => {
    const lease = await worker.acquire(`busy/${count++ % 5_000}`, { wait: "30s" });
    await lease.release();
    cycles++;
  };
  const work = () => {
    const nowMs = performance.now();
    // Two events each. What is late is made up for, up to a point.
    if (nowMs - dueAtMs > 200) dueAtMs = nowMs - 200;
    for (; dueAtMs < nowMs; dueAtMs += 2_000 / EVENTS_A_S) cycle().catch(() => {});
    setTimeout(work, 5);
  };
  work();
  process.on("message", async (phaseMs) => {
    const endMs = performance.now() + phaseMs;
    const took = [];
    cycles = 0;
    while (performance.now() < endMs) {
      const startMs = performance.now();
      const lease = await probe.acquire("probe");
      took.push(performance.now() - startMs);
      await lease.release();
      await pause(5);
    }
    took.sort((x, y) => x - y);
    const at = (part) => took[Math.floor(took.length * part)];
    process.send({ p50: at(0.5), p99: at(0.99), cycles });
  });
  process.send("ready");
}

async function readers() {
  const stop = new AbortController();
  let bytes = 0;
  const read = async () => {
    const response = await fetch(`${process.env.URL}/v1/services/load/events`, {
      headers: { authorization: `Bearer ${ROOT_KEY}` },
      signal: stop.signal,
    });
    for await (const chunk of response.body) bytes += chunk.length;
  };
  for (let reader = 0; reader < READERS; reader++) read().catch(() => {});
  process.on("message", () => {
    stop.abort();
    process.send({ bytes });
  });
  process.send("ready");
}

/** The page, while all that happens: how long it was busy at a time. */
async function page(url) {
  const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
    existsSync,
  );
  if (executablePath === undefined) return console.warn("No Chromium: the page was not looked at.");
  const { chromium } = await import("playwright-core");
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const tab = await browser.newPage({ viewport: { width: 1_200, height: 800 } });
  await tab.addInitScript(() => {
    globalThis.longTasks = [];
    new PerformanceObserver((list) =>
      globalThis.longTasks.push(...list.getEntries().map(({ duration }) => duration)),
    ).observe({ type: "longtask", buffered: true });
  });
  const worst = async (what) => {
    const tasks = await tab.evaluate(() => globalThis.longTasks.splice(0));
    const max = Math.round(Math.max(0, ...tasks));
    console.log(
      `${what}: ${tasks.length} tasks over 50 ms, the longest ${max} ms${max > LONG_TASK_MS ? ` (to be below ${LONG_TASK_MS})` : ""}`,
    );
  };
  await tab.goto(`${url}/#/s/load/locks`);
  await tab.fill("#api-key", ROOT_KEY);
  await tab.keyboard.press("Enter");
  await tab.locator(".lock-space .lock-row").first().waitFor({ timeout: 60_000 });
  await worst("signing in, and the first page of locks");
  for (let step = 0; step < 200; step++) {
    await tab.evaluate(() => {
      const box = document.querySelector(".lock-table");
      box.scrollTop = box.scrollHeight;
    });
    await pause(50);
  }
  await worst(`scrolling for ten seconds, to ${await tab.locator(".foot").innerText()}`);
  await tab.fill("input[type=search]", "held/0999");
  await pause(3_000);
  await worst("looking for a name");
  await tab.fill("input[type=search]", "busy/");
  await pause(5_000);
  await worst("those that come and go");
  for (const screen of ["events", "now", "sessions"]) {
    await tab.goto(`${url}/#/s/load/${screen}`);
    await pause(6_000);
    await worst(screen);
  }
  await tab.goto(`${url}/#/s/load/locks/busy%2F7`);
  await pause(6_000);
  await worst("one lock");
  await browser.close();
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function until(isSo) {
  for (;;) {
    if (await isSo().catch(() => false)) return;
    await pause(50);
  }
}

function median(values) {
  return [...values].sort((x, y) => x - y)[Math.floor(values.length / 2)];
}

function shown({ p50, p99, usPerEvent }) {
  return `p50 ${ms(p50)}, p99 ${ms(p99)}, ${usPerEvent.toFixed(1)} µs CPU an event`;
}

function ms(value) {
  return `${value.toFixed(1)} ms`;
}

function pause(spanMs) {
  return new Promise((resolve) => setTimeout(resolve, spanMs));
}
