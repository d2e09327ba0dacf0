// Somebody connects, locks, and is gone, again and again. Afterwards the server has what it had before.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { asked, atMost, clockMs, ROOT_KEY } from "./lib/stage.js";

export const about = "cycles of connect, lock, abandon: heap, sockets and the store are back where they were";

const CYCLES = 10_000_000;
const CYCLES_QUICK = 100_000;
/**
 * Before the first look, so that what is made once is made, all is remembered of locks that were lost that may be (Q11), and tables and the
 * store are as large as a minute's answers make them: the file of a store never shrinks. What comes after it is no faster.
 */
const WARM = 400_000;
const WARM_QUICK = 5_000;
const PACE_SHARE = 0.95;
const A_CALL = 5_000;
const PROCESSES = 2;
const LANES = 8;
const SERVICE = "leaks";
/** Until leases of a second and answers that are kept for a minute are over (Q6), and the journal was copied. */
const QUIET_MS = 75_000;
/** Of the quick run, which says nothing of heap and store: answers of the last minute are in them. */
const QUIET_MS_QUICK = 3_000;
const EMPTY_MS = 20_000;
const MIB = 1_048_576;
const HEAP_BYTES_MAX = 6 * MIB;
/** Names and tokens become longer by a digit. */
const STORED_BYTES_MAX = 2 * MIB;
/**
 * What is in the store is judged by itself. Its file is as large as the largest batch has made it, and its pages are used again in another order each time; were
 * they not used again, ten million cycles would be gigabytes.
 */
const FILE_SHARE_MAX = 0.5;

export async function run(stage) {
  const cycles = stage.count(CYCLES_QUICK, CYCLES);
  const probe = new URL("lib/probe.mjs", import.meta.url).href;
  const server = await stage.single({ env: { NODE_OPTIONS: `--import ${probe}` } });
  const terms = { port: server.port, apiKey: ROOT_KEY, service: SERVICE, lanes: LANES };
  const leavers = Array.from({ length: PROCESSES }, () => stage.script("leaver.js", terms));
  const total = { granted: 0, refused: 0, unheard: 0 };
  /** @returns how many a second it were */
  const leave = async (count, everyMs) => {
    const startedMs = clockMs();
    for (let left = count; left > 0; left -= PROCESSES * A_CALL) {
      const some = Math.ceil(Math.min(left, PROCESSES * A_CALL) / PROCESSES);
      const pace = { count: some, everyMs: everyMs * PROCESSES };
      for (const seen of await Promise.all(leavers.map((each) => each.call("leave", pace))))
        for (const key of Object.keys(total)) total[key] += seen[key];
    }
    return count / ((clockMs() - startedMs) / 1_000);
  };
  const warm = stage.isQuick ? WARM_QUICK : WARM;
  const warmPerSecond = await leave(warm, 0);
  const quietMs = stage.isQuick ? QUIET_MS_QUICK : QUIET_MS;
  const before = await quiet(server, quietMs);
  const everyMs = stage.isQuick ? 0 : 1_000 / (PACE_SHARE * warmPerSecond);
  const perSecond = await leave(Math.max(0, cycles - warm), everyMs);
  const after = await quiet(server, quietMs);
  const grown = (/** @type {string} */ what) => after[what] - before[what];
  const mib = (/** @type {number} */ bytes) => (bytes / MIB).toFixed(1);
  const grownBy = (/** @type {string} */ what, /** @type {number} */ bytes, /** @type {number} */ bytesMax) =>
    stage.inFull({
      what,
      seen: mib(Math.max(0, bytes)),
      bound: `at most ${mib(bytesMax)}`,
      isKept: bytes <= bytesMax,
    });
  return [
    {
      what: "cycles",
      seen: `${total.granted} granted, ${total.refused} refused, ${total.unheard} unheard; ${perSecond.toFixed(0)} a second`,
    },
    {
      what: "heap, store, its file and sockets before",
      seen: `${mib(before.heapUsed)} MiB, ${mib(before.stored)} MiB, ${mib(before.file)} MiB, ${before.sockets}`,
    },
    grownBy("MiB of heap more than before", grown("heapUsed") + grown("external"), HEAP_BYTES_MAX),
    atMost("cycles in which nothing was locked", total.refused + total.unheard, 0),
    atMost("sockets more than before", Math.max(0, grown("sockets")), 0),
    atMost("open files more than before", Math.max(0, grown("files")), 0),
    grownBy("MiB in the store more than before", grown("stored"), STORED_BYTES_MAX),
    grownBy("MiB of its file more than before", grown("file"), FILE_SHARE_MAX * before.file),
    atMost("locks, sessions and connections left", after.left, 0),
    { what: "resident memory before and after", seen: `${mib(before.rss)} MiB, ${mib(after.rss)} MiB` },
    atMost("errors in the server's log", server.child.end.trim() === "" ? 0 : 1, 0),
  ];
}

/** What is in a server once nothing happens any more. */
async function quiet(server, forMs) {
  const leftOf = async () => {
    const { locks } = await asked(`${server.url}/v1/services/${SERVICE}/locks`);
    const { sessions } = await asked(`${server.url}/v1/services/${SERVICE}/sessions`);
    return locks.length + sessions.length;
  };
  for (const endMs = clockMs() + EMPTY_MS; (await leftOf()) > 0 && clockMs() < endMs; ) await setTimeout(200);
  await setTimeout(forMs);
  const inside = await server.child.call("inside");
  const file = readdirSync(server.dataDir, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .reduce((sum, { name, parentPath }) => sum + statSync(join(parentPath, name)).blocks * 512, 0);
  const authorization = `Bearer ${ROOT_KEY}`;
  const backup = await fetch(`${server.url}/v1/backup`, { headers: { authorization } });
  if (!backup.ok) throw new Error(`no backup: ${backup.status}`);
  return {
    ...inside,
    file,
    stored: (await backup.arrayBuffer()).byteLength,
    files: readdirSync(`/proc/${server.child.pid}/fd`).length,
    left: await leftOf(),
  };
}
