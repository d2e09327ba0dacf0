import { ACCESS_ROOM } from "./access.js";
import { BACKUP } from "./backup.js";
import { CLIENT } from "./client.js";
import { CLUSTER } from "./cluster.js";
import { CLUSTER_DATA } from "./cluster-data.js";
import { ENGINE_CALLS } from "./engine-calls.js";
import { ENGINE_KINDS } from "./engine-kinds.js";
import { ENGINE_LOCKS } from "./engine-locks.js";
import { ENGINE_NESTED } from "./engine-nested.js";
import { ENGINE_PACKED } from "./engine-packed.js";
import { ENGINE_REQUESTS } from "./engine-requests.js";
import { ENGINE_SESSIONS } from "./engine-sessions.js";
import { ETCD } from "./etcd.js";
import { GUARDS_ROOM } from "./guards.js";
import { MEMBERS } from "./members.js";
import { MEMBERS_ACCESS } from "./members-access.js";
import { OPERATIONS } from "./operations.js";
import { PASSING } from "./passing-on.js";
import { SERVER } from "./server.js";
import { SIGNUP } from "./signup.js";
import { STORE } from "./store.js";
import { TRANSPORT } from "./transport.js";
import { WEB_SOCKET } from "./web-socket.js";
import { WEBHOOKS } from "./webhooks.js";

/** @typedef {import("./mutants.js").Mutant} Mutant */

/** @type {readonly Mutant[]} */
export const MUTANTS = [
  ...ENGINE_LOCKS,
  ...ENGINE_REQUESTS,
  ...ENGINE_SESSIONS,
  ...ENGINE_KINDS,
  ...ENGINE_NESTED,
  ...ENGINE_CALLS,
  ...ENGINE_PACKED,
  ...SERVER,
  ...MEMBERS,
  ...CLUSTER,
  ...CLUSTER_DATA,
  ...ETCD,
  ...MEMBERS_ACCESS,
  ...SIGNUP,
  ...ACCESS_ROOM,
  ...STORE,
  ...BACKUP,
  ...TRANSPORT,
  ...WEB_SOCKET,
  ...PASSING,
  ...WEBHOOKS,
  ...OPERATIONS,
  ...CLIENT,
  ...GUARDS_ROOM,
];

/** @type {typeof import("./mutants.js").isSeed} */
export function isSeed(killer) {
  return "seed" in killer;
}

/** @type {typeof import("./mutants.js").problemsOf} */
export function problemsOf(read) {
  const problems = [];
  const ids = new Set();
  for (const { id, file, find, put } of MUTANTS) {
    if (ids.has(id)) problems.push(`${id}: there are two of it`);
    ids.add(id);
    const count = read(file).split(find).length - 1;
    if (count !== 1) problems.push(`${id}: its text occurs ${count} times in ${file}`);
    const changed = changedLines(find, put);
    if (changed !== 1) problems.push(`${id}: it changes ${changed} lines`);
  }
  return problems;
}

/** @type {typeof import("./mutants.js").page} */
export function page() {
  const rows = MUTANTS.map(({ id, rule, file, wrong, killedBy }) =>
    [`\`${id}\``, rule, fileWords(file), wrong, killerWords(killedBy)].join(" | "),
  );
  return `${HEAD}\n\n| bug | breaks | in | what is planted | found by |\n| --- | --- | --- | --- | --- |\n${rows
    .map((row) => `| ${row} |`)
    .join("\n")}\n`;
}

const HEAD = `# Planted bugs

A test suite is as good as the bugs it finds. \`npm run mutants\` plants each of these in a copy of the sources, one line at a
time, builds it, and runs what must find it: a seed of the simulator, which has to end with a violation, or a test, which
has to fail. On the healthy code all of them pass. A bug that survives fails the run.

The list is in \`tests/mutants\`; this page is made from it by \`node tests/mutants/run.js --table > docs/mutants.md\`. When a
change of the simulator has moved its seeds, \`npm run mutants -- --search\` finds new ones.

These are bugs that somebody thought of. How many of all small mistakes a test finds, in the engine and in what a client believes of its holds,
\`npm run score\` counts: [decision 027](decisions/027-mutation-score.md) says how, and what was seen.`;

/** @param {string} find @param {string} put */
function changedLines(find, put) {
  const [before, after] = [find.split("\n"), put.split("\n")];
  if (before.length !== after.length) return Math.max(before.length, after.length);
  return before.filter((line, at) => line !== after[at]).length;
}

/** @param {string} file */
function fileWords(file) {
  return file.replace(/^packages\/(\w+)\/(src|test)\//, (_, name, part) =>
    part === "src" ? `${name}/` : "",
  );
}

/** @param {Mutant["killedBy"]} killer */
function killerWords(killer) {
  if (!isSeed(killer)) return `\`${killer.name}\` of ${fileWords(killer.test)}`;
  return `seed ${killer.seed}, ${killer.steps.toLocaleString("en")} steps${killer.wild ? ", wild clocks" : ""}${killer.cluster ? ", of a cluster" : ""}`;
}
