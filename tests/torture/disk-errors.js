// Writes and flushes that fail, once and for a while; a disk that is full, and has room again.
import { existsSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { Disk } from "./lib/disk.js";
import { inLanes, judgedLanes, Lane } from "./lib/lane.js";
import { lacking } from "./lib/needs.js";
import { atMost, clockMs, quantile } from "./lib/stage.js";
import { attached, filesOf, injecting, ONE_THREAD } from "./lib/trace.js";

export const about = "writes and flushes fail at each position, and the disk is full for a while, under load";
export const needs = ["strace"];

const FAILURES = 500;
const FAILURES_QUICK = 20;
const LANES = 2;
const COMES_MS = 3_000;
/** How long all such calls fail. */
const FOR_MS = 600;
const DISK_MIB = 40;
const FULL_MS = 1_500;
/** So many failures for each time that the disk is full. */
const FAILURES_A_FILL = 20;

const KINDS = [
  { file: "journal", call: "fdatasync", error: "EIO", most: 20 },
  { file: "journal", call: "pwrite64", error: "ENOSPC", most: 20 },
  { file: "store.mdb", call: "fdatasync", error: "EIO", most: 5 },
  { file: "store.mdb", call: "writev", error: "ENOSPC", most: 5 },
  { file: "store.mdb", call: "pwrite64", error: "EIO", most: 5 },
  { file: "journal", call: "fdatasync", error: "EIO", most: 5, isForAWhile: true },
  { file: "store.mdb", call: "writev", error: "ENOSPC", most: 3, isForAWhile: true },
  { file: "", call: "pwrite64", error: "ENOSPC", most: 8, isStart: true },
  { file: "", call: "fdatasync", error: "EIO", most: 4, isStart: true },
  { file: "", call: "fsync", error: "EIO", most: 1, isStart: true },
];

export async function run(stage) {
  const failures = stage.count(FAILURES_QUICK, FAILURES);
  const lanes = await Promise.all(
    Array.from({ length: LANES }, (_, at) => Lane.open(stage, at, { single: { env: ONE_THREAD } })),
  );
  for (const lane of lanes) Object.assign(lane, { mayEnd: isOfLmdb, startEnv: ONE_THREAD });
  const at = { work: 0, start: 0, none: 0, unnamed: [], ended: [], folder: stage.folder() };
  await inLanes(lanes, failures, async (lane, number, own) => {
    const kind = KINDS[number % KINDS.length];
    const which = 1 + (Math.floor(number / KINDS.length) % kind.most);
    const name = `failure ${number + 1}: ${kind.error} of ${kind.call} ${which}${kind.isForAWhile ? "+" : ""} of ${kind.file || "all files, at a start"}`;
    await lane.round(own, name, () =>
      kind.isStart
        ? failingAtStart(lane.server, kind, which, name, at)
        : failingAtWork(stage, lane.server, kind, which, name, at),
    );
    if ((number + 1) % 20 === 0) console.log(`  ${number + 1}/${failures}`);
  });
  await Promise.all(lanes.map((lane) => lane.close()));
  const lacks = lacking(["loop disk"]);
  const fills = Math.ceil(failures / FAILURES_A_FILL);
  const full = lacks === null ? await fullDisk(stage, fills) : null;
  if (lacks !== null) console.log(`SKIPPED: the full disk: ${lacks}`);
  for (const each of [...at.unnamed, ...at.ended]) console.log(`  ! ${each}`);
  const { figures, problems, wellMs } = judgedLanes(lanes);
  return [
    {
      what: "failures",
      seen: `${failures}: ${at.work} under load, ${at.start} refused a start, ${at.none} did not come to be`,
    },
    ...figures,
    {
      what: "servers that LMDB ended, at or after a write of its that failed",
      seen: `${lanes.reduce((sum, { ends }) => sum + ends, 0)}`,
    },
    atMost("servers that ended by themselves otherwise", at.ended.length, 0),
    atMost("starts that were refused without a word of the folder", at.unnamed.length, 0),
    atMost("failures after which nothing was granted", problems, 0),
    {
      what: "granting again after the failure",
      seen: `median ${quantile(wellMs, 0.5).toFixed(0)} ms, longest ${Math.max(...wellMs).toFixed(0)} ms`,
    },
    ...(full ?? [{ what: "full disk", seen: `skipped: ${lacks}` }]),
  ];
}

async function failingAtWork(stage, { child, dataDir }, { file, call, error, isForAWhile }, which, name, at) {
  const files = filesOf(dataDir).filter((each) => each.endsWith(`/${file}`));
  const out = join(at.folder, basename(dataDir));
  const what = `error=${error}:when=${which}${isForAWhile ? "+" : ""}`;
  const trace = await attached(stage, child.pid, injecting({ files, call, what, out }));
  const isMet = () => existsSync(out) && readFileSync(out, "utf8").includes("INJECTED");
  for (const endMs = clockMs() + COMES_MS; !isMet() && !child.isOver && clockMs() < endMs; )
    await setTimeout(20);
  if (isForAWhile) await Promise.race([child.ended, setTimeout(FOR_MS)]);
  await trace.detach();
  at[isMet() ? "work" : "none"]++;
  rmSync(out, { force: true });
  if (child.isOver && !isOfLmdb(child.end)) at.ended.push(`${name}: ${child.end}`);
}

/** What LMDB writes of a write that failed is longer than its place: the memory behind that is spoilt, and the process may end of it, now or later. */
function isOfLmdb(end) {
  return /^SIG(ABRT|SEGV|BUS|ILL)/.test(end);
}

async function failingAtStart(server, { call, error }, which, name, at) {
  await server.child.kill();
  const under = [
    "strace",
    "-qq",
    ...injecting({ files: filesOf(server.dataDir), call, what: `error=${error}:when=${which}` }),
  ];
  const child = server.launch({ env: ONE_THREAD, under });
  const isUp = await child.listening().then(
    () => true,
    () => false,
  );
  if (!isUp) {
    at.start++;
    if (!child.end.includes(server.dataDir) && !child.end.includes("store"))
      at.unnamed.push(`${name}: ${child.end}`);
  }
  await child.kill();
  await server.start({ env: ONE_THREAD });
}

/** Another program fills the disk, and goes. */
async function fullDisk(stage, fills) {
  const disk = Disk.make(stage, DISK_MIB);
  const lane = await Lane.open(stage, LANES, { single: { dataDir: disk.folder("data") } });
  for (let fill = 0; fill < fills; fill++)
    await lane.round(fill, `full disk ${fill + 1}`, async () => {
      disk.fill();
      await setTimeout(FULL_MS);
      disk.empty();
    });
  await lane.close();
  const { figures, problems } = judgedLanes([lane]);
  const judged = figures.filter(({ isKept }) => isKept !== undefined);
  return [
    { what: `full for ${FULL_MS / 1_000} s, and room again`, seen: `${fills} times` },
    ...judged.map((figure) => ({ ...figure, what: `full disk: ${figure.what}` })),
    atMost("full disk: times after which nothing was granted, or the server had ended", problems, 0),
  ];
}
