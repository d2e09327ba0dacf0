/** A process with one worker, which it stops when a mutant goes round and round: by its time on the processor, since others may want that too. */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";

const LOOKS_MS = 50;
const WALL_MS = 90_000;
const HEAP_MB = 700;

const code = readFileSync(process.argv[2], "utf8");
/** @type {Worker | null} */
let worker = null;
/** What goes on: since when, and how long that may take. */
let running = { at: -1, sinceMs: 0, cpuMs: 0 };
/** @type {any} */
let task = null;

process.on("message", (/** @type {any} */ message) => {
  task = message;
  running = { at: -1, ...moment() };
  if (worker === null) start();
  else worker.postMessage(task);
});
// What ends all at once comes here too: whoever started this says when it ends.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
process.once("disconnect", () => process.exit(0));

setInterval(() => {
  if (task?.kind !== "judge") return;
  const { sinceMs, cpuMs } = moment();
  const limitMs = running.at === -1 ? 10_000 : task.limits[task.tests.indexOf(running.at)];
  if (cpuMs - running.cpuMs > limitMs || sinceMs - running.sinceMs > WALL_MS) stop("time");
}, LOOKS_MS);

function start() {
  const made = new Worker(new URL("worker.js", import.meta.url), {
    workerData: { code },
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    stdout: true,
    stderr: true,
  });
  worker = made;
  made.on("message", (message) => {
    if (worker !== made) return;
    if (message.kind === "ready") {
      running = { at: -1, ...moment() };
      return made.postMessage(task);
    }
    if (message.kind === "running") running = { at: message.at, ...moment() };
    else {
      task = null;
      process.send?.(message);
    }
  });
  const failed = (/** @type {any} */ error) => {
    if (worker !== made) return;
    worker = null;
    if (task === null) return;
    task = null;
    process.send?.({ kind: "judged", killer: `the worker ended: ${error?.code ?? error}` });
  };
  made.on("error", failed);
  made.on("exit", failed);
}

/** @param {string} why */
function stop(why) {
  const stopped = worker;
  worker = null;
  task = null;
  void stopped?.terminate();
  process.send?.({ kind: "judged", killer: why, at: running.at });
}

function moment() {
  const { user, system } = process.cpuUsage();
  return { sinceMs: performance.now(), cpuMs: (user + system) / 1_000 };
}
