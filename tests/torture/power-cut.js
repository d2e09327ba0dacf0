// The power fails: what was not flushed is gone.
import { Disk } from "./lib/disk.js";
import { judgedLanes, Lane } from "./lib/lane.js";
import { lacking } from "./lib/needs.js";
import { atMost, quantile } from "./lib/stage.js";
import { attached, filesOf, injecting } from "./lib/trace.js";
import { lostOf } from "./lib/under-load.js";

export const about = "the disk loses its power under load, and with it all that was not flushed";
export const needs = ["root", "loop disk"];

const CUTS = 100;
const CUTS_QUICK = 3;
const DISK_MIB = 40;
/** Holds between two cuts. */
const GRANTS = 40;

export async function run(stage) {
  const cuts = stage.count(CUTS_QUICK, CUTS);
  const disk = Disk.make(stage, DISK_MIB);
  const lane = await Lane.open(stage, 0, {
    single: { dataDir: disk.folder("data") },
    terms: { oneTimePauseMs: 10 },
  });
  for (let cut = 0; cut < cuts; cut++) {
    await lane.load.moreGrants(GRANTS);
    await lane.round(cut, `cut ${cut + 1}`, () => cutAndBack(disk, lane.server));
    if ((cut + 1) % 10 === 0) console.log(`  ${cut + 1}/${cuts}`);
  }
  await lane.close();
  const { figures, problems, wellMs } = judgedLanes([lane]);
  return [
    { what: "cuts", seen: `${cuts}` },
    ...figures,
    atMost("cuts after which it did not start, or grant", problems, 0),
    {
      what: "granting again after the start",
      seen: `median ${quantile(wellMs, 0.5).toFixed(0)} ms, longest ${Math.max(...wellMs).toFixed(0)} ms`,
    },
    await withoutFlushes(stage),
  ];
}

async function cutAndBack(disk, server) {
  disk.cutPower();
  // Until it is killed it goes on without a disk, and must acknowledge nothing.
  await new Promise((resolve) => setTimeout(resolve, 50));
  await server.child.kill();
  disk.restorePower();
  await server.start();
}

/** Who checks the check: the same with a disk that only says that it has flushed. */
async function withoutFlushes(stage) {
  const what = "the same, when flushes are left out: it is seen";
  const lacks = lacking(["strace"]);
  if (lacks !== null) return { what, seen: `skipped: ${lacks}` };
  const disk = Disk.make(stage, DISK_MIB);
  const lane = await Lane.open(stage, 1, {
    single: { dataDir: disk.folder("data") },
    terms: { oneTimePauseMs: 10 },
  });
  const { child, dataDir } = lane.server;
  const trace = await attached(
    stage,
    child.pid,
    injecting({ files: filesOf(dataDir), call: "fdatasync", what: "retval=0" }),
  );
  await lane.load.moreGrants(GRANTS);
  const refusal = await cutAndBack(disk, lane.server).then(
    () => null,
    (error) => error.message,
  );
  await trace.detach();
  lane.load.look();
  const lost = refusal === null ? await lostOf([lane.server], lane.load.entries) : [];
  await Promise.all(lane.load.processes.map((each) => each.kill()));
  const seen = refusal === null ? `${lost.length} acknowledged changes lost` : "the start is refused";
  return { what, seen, bound: "something", isKept: refusal !== null || lost.length > 0 };
}
