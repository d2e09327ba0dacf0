// The server dies at the n-th call that writes or flushes, at work and while it starts.
import { setTimeout } from "node:timers/promises";
import { inLanes, judgedLanes, Lane } from "./lib/lane.js";
import { atMost, quantile } from "./lib/stage.js";
import { attached, filesOf, injecting, ONE_THREAD } from "./lib/trace.js";

export const about =
  "the server is killed at the n-th write or flush of its files, under load and while it starts";
export const needs = ["strace"];

const POINTS = 1_000;
const POINTS_QUICK = 40;
const LANES = 2;
/** A call that does not come in this time is as good a moment as any. */
const COMES_MS = 4_000;

/** Which calls, and how many of them there are in a second or so, or in a start. */
const KINDS = [
  { file: "journal", call: "pwrite64", most: 40 },
  { file: "journal", call: "fdatasync", most: 40 },
  { file: "store.mdb", call: "pwrite64", most: 8 },
  { file: "store.mdb", call: "writev", most: 8 },
  { file: "store.mdb", call: "fdatasync", most: 8 },
  { file: "", call: "pwrite64", most: 8, isStart: true },
  { file: "", call: "fdatasync", most: 4, isStart: true },
  { file: "", call: "ftruncate", most: 1, isStart: true },
];

export async function run(stage) {
  const points = stage.count(POINTS_QUICK, POINTS);
  const lanes = await Promise.all(
    Array.from({ length: LANES }, (_, at) => Lane.open(stage, at, { single: { env: ONE_THREAD } })),
  );
  const at = { work: 0, start: 0, none: 0 };
  await inLanes(lanes, points, async (lane, point, own) => {
    const kind = KINDS[point % KINDS.length];
    const which = 1 + (Math.floor(point / KINDS.length) % kind.most);
    const name = `point ${point + 1}: ${kind.call} ${which} of ${kind.file || "all files, at a start"}`;
    await lane.round(own, name, async () => {
      const isHit =
        kind.isStart === true
          ? await killedAtStart(lane.server, kind, which)
          : await killedAtWork(stage, lane.server, kind, which);
      at[isHit ? (kind.isStart === true ? "start" : "work") : "none"]++;
      await lane.server.start({ env: ONE_THREAD });
    });
    if ((point + 1) % 20 === 0) console.log(`  ${point + 1}/${points}`);
  });
  await Promise.all(lanes.map((lane) => lane.close()));
  const { figures, problems, wellMs } = judgedLanes(lanes);
  return [
    {
      what: "points at which the server was killed",
      seen: `${points}: ${at.work} under load, ${at.start} while it started, ${at.none} at some moment, since the call did not come`,
    },
    ...figures,
    atMost("points after which it did not start, or grant", problems, 0),
    {
      what: "granting again after the start",
      seen: `median ${quantile(wellMs, 0.5).toFixed(0)} ms, longest ${Math.max(...wellMs).toFixed(0)} ms`,
    },
  ];
}

async function killedAtWork(stage, { child, dataDir }, { file, call }, which) {
  const files = filesOf(dataDir).filter((each) => each.endsWith(`/${file}`));
  // It may be over before anybody is told that it is traced.
  const trace = await attached(
    stage,
    child.pid,
    injecting({ files, call, what: `signal=SIGKILL:when=${which}` }),
  ).catch((error) => {
    if (!child.isOver) throw error;
  });
  const isHit = await overWithin(child, COMES_MS);
  await child.kill();
  await trace?.detach();
  return isHit;
}

async function killedAtStart(server, { call }, which) {
  await server.child.kill();
  const files = filesOf(server.dataDir);
  const under = ["strace", "-qq", ...injecting({ files, call, what: `signal=SIGKILL:when=${which}` })];
  const child = server.launch({ env: ONE_THREAD, under });
  const isHit = await Promise.race([
    overWithin(child, 60_000),
    child.listening().then(
      () => false,
      () => true,
    ),
  ]);
  await child.kill();
  return isHit;
}

async function overWithin(child, withinMs) {
  return Promise.race([child.ended.then(() => true), setTimeout(withinMs, false, { ref: false })]);
}
