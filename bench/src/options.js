import { access, constants } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import { PEERS } from "./peers/index.js";
import { ALONE } from "./workloads/alone.js";
import { WORKLOADS } from "./workloads/index.js";

const ROUNDS_MAX = 100;
/** All that measure LockDB by itself. */
const ALL_ALONE = "alone";

const namesOf = (/** @type {readonly { name: string }[]} */ all) => all.map(({ name }) => name).join(", ");

export const HELP = `Measures LockDB and its peers, in turns, in one run on this machine.

  npm run bench -- [options]

  --only LIST   workloads, with commas between: ${namesOf(WORKLOADS)};
                of LockDB by itself: ${namesOf(ALONE)}, or \`${ALL_ALONE}\` for all of these
  --peers LIST  peers beside LockDB, with commas between: ${namesOf(PEERS.filter(({ isOurs }) => !isOurs))}
  --quick       short, within a minute: shows that it works, not how fast
  --rounds N    rounds to take the medians over, 1 to ${ROUNDS_MAX} (default 5; quick what there is time for)
  --json FILE   also write everything, round by round, to FILE
  --help        this text

Only ratios of one run mean anything: see docs/benchmarks.md.
`;

/**
 * @param {string[]} args
 * @returns What is wanted, or what is wrong.
 */
export async function readOptions(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        only: { type: "string" },
        peers: { type: "string" },
        quick: { type: "boolean", default: false },
        rounds: { type: "string" },
        json: { type: "string" },
        help: { type: "boolean", default: false },
      },
    });
    const all = [...WORKLOADS, ...ALONE];
    const only = chosen("--only", all, values.only, { [ALL_ALONE]: ALONE });
    const named = chosen("--peers", PEERS, values.peers);
    if (typeof only === "string") return only;
    if (typeof named === "string") return named;
    const workloads = WORKLOADS.filter((workload) => only.includes(workload));
    const alone = ALONE.filter((workload) => only.includes(workload));
    const peers = PEERS.filter((peer) => peer.isOurs || named.includes(peer));
    const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
    if (rounds !== undefined && (!Number.isInteger(rounds) || rounds < 1 || rounds > ROUNDS_MAX)) {
      return `--rounds ${values.rounds}: give a whole number from 1 to ${ROUNDS_MAX}`;
    }
    // `npm --prefix` runs us in another folder than the caller's, and says here which that was.
    const json =
      values.json === undefined ? undefined : resolve(process.env.INIT_CWD ?? process.cwd(), values.json);
    if (json !== undefined) await access(dirname(json), constants.W_OK);
    return { workloads, alone, peers, rounds, isQuick: values.quick, json, isHelp: values.help };
  } catch (error) {
    return `${error instanceof Error ? error.message : error}\nSee --help.`;
  }
}

/**
 * @template {{ name: string }} T
 * @param {string} option
 * @param {readonly T[]} all
 * @param {string | undefined} list
 * @param {Readonly<Record<string, readonly T[]>>} [groups] one name for several of them
 * @returns {readonly T[] | string}
 */
function chosen(option, all, list, groups = {}) {
  if (list === undefined) return all;
  const names = list.split(",").map((name) => name.trim());
  const wanted = new Set(names.flatMap((name) => groups[name]?.map((one) => one.name) ?? name));
  const stranger = [...wanted].find((name) => !all.some((one) => one.name === name));
  if (stranger !== undefined) {
    return `${option} ${stranger}: choose from ${[namesOf(all), ...Object.keys(groups)].join(", ")}`;
  }
  return all.filter(({ name }) => wanted.has(name));
}
