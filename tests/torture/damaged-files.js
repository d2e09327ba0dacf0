// Files of a store that are cut off, flipped, zeroed, mixed up and gone.
import { cpSync } from "node:fs";
import { join } from "node:path";
import { atMost } from "./lib/stage.js";
import { Load, lostOf } from "./lib/under-load.js";

export const about =
  "files of a store are cut off, flipped, zeroed, mixed up and gone: that is told, or it is harmless";

const CASES = 20_000;
const CASES_QUICK = 100;
const A_CALL = 25;
/** So many cases for each that a real server is started with. */
const CASES_A_SERVER = 50;
const GRANTS = 60;

export async function run(stage) {
  const cases = stage.count(CASES_QUICK, CASES);
  const folders = await Promise.all([soundFolder(stage, "SIGTERM"), soundFolder(stage, "SIGKILL")]);
  const found = { refused: 0, harmless: 0, torn: 0, wrong: [], crashed: [] };
  const records = [];
  await Promise.all(
    folders.map(async ({ folder: sound, ending }, at) => {
      const own = { sound, folder: join(stage.folder(), "copy") };
      let worker = stage.script("damage.js", own);
      records.push((await worker.call("about")).records);
      const count = Math.ceil(cases / folders.length);
      for (let from = 0; from < count; from += A_CALL) {
        const some = Math.min(A_CALL, count - from);
        // The same numbers twice: of what was stopped, and of what was killed.
        for (let number = from; number < from + some; ) {
          const size = worker.isOver ? 1 : from + some - number;
          if (worker.isOver) worker = stage.script("damage.js", own);
          const outcomes = await worker
            .call("outcomes", { from: number, count: size })
            .catch((error) => error);
          if (!(outcomes instanceof Error)) {
            for (const { kind, what } of outcomes)
              if (kind === "wrong") found.wrong.push(`${ending}, ${what}`);
              else found[kind]++;
            number += size;
          } else if (size === 1) {
            found.crashed.push(`${ending}, case ${number}: ${worker.end}`);
            number++;
          } else await worker.kill();
        }
        if ((from + A_CALL) % 2_000 < A_CALL && at === 0) console.log(`  ${2 * from}/${cases}`);
      }
    }),
  );
  const served = await servers(stage, folders, Math.ceil(cases / CASES_A_SERVER));
  for (const each of [...found.wrong, ...found.crashed, ...served.wrong].slice(0, 40))
    console.log(`  ! ${each}`);
  return [
    {
      what: "damages",
      seen: `${cases}, to stores of ${records.join(" and ")} records, stopped in order and killed`,
    },
    { what: "named and refused", seen: `${found.refused}` },
    { what: "harmless: all records are there", seen: `${found.harmless}` },
    { what: "in the last batch before a kill alone, and taken for a torn write", seen: `${found.torn}` },
    atMost(
      "records silently gone or wrong, or an error that does not say what is damaged",
      found.wrong.length,
      0,
    ),
    atMost("crashes", found.crashed.length, 0),
    {
      what: "real servers started with such a folder",
      seen: `${served.refused} refused, ${served.started} started with all that was acknowledged, ${served.torn} without the last batch`,
    },
    atMost(
      "real servers that started with something missing, or hung, or did not say why not",
      served.wrong.length,
      0,
    ),
  ];
}

/** The folder of a server that was ended so under load, and what it has acknowledged. */
async function soundFolder(stage, ending) {
  const server = await stage.single();
  const services = ["a", "b"];
  const load = new Load(stage, {
    services: [...services, ...services],
    urls: [server.url],
    processes: 1,
    terms: { oneTimePauseMs: 30, hasPassersBy: false },
  });
  await load.moreGrants(GRANTS);
  // What is acknowledged last is in the journal alone.
  await server.child.kill(ending);
  await Promise.all(load.processes.map((each) => each.kill()));
  load.look();
  const folder = stage.folder();
  cpSync(server.dataDir, folder, { recursive: true });
  return { folder, ending, entries: load.entries };
}

/** As an operator sees it: `lockdb serve` on a damaged folder. */
async function servers(stage, folders, count) {
  const seen = { refused: 0, started: 0, torn: 0, wrong: [] };
  const makers = folders.map(({ folder: sound }) =>
    stage.script("damage.js", { sound, folder: join(stage.folder(), "copy") }),
  );
  for (let number = 0; number < count; number++) {
    const { ending, entries } = folders[number % folders.length];
    const maker = makers[number % folders.length];
    const dataDir = stage.folder();
    const at = number * CASES_A_SERVER + (Math.floor(number / 2) % 8);
    const what = `${ending}, ${await maker.call("copy", { number: at, to: dataDir })}`;
    const [{ kind }] = await maker.call("outcomes", { from: at, count: 1 });
    const failure = await stage.single({ dataDir }).then(
      async (server) => {
        const lost = await lostOf([server], entries);
        await server.child.kill();
        if (lost.length === 0) seen.started++;
        else if (kind === "torn") seen.torn++;
        else seen.wrong.push(`${what}: started, and ${lost.length} are lost: ${lost[0]}`);
        return null;
      },
      (error) => error.message,
    );
    if (failure === null) continue;
    if (/ ended: /.test(failure) && /journal|store|record|directory/.test(failure)) seen.refused++;
    else seen.wrong.push(`${what}: ${failure}`);
  }
  return seen;
}
