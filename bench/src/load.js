/**
 * The load process: its part of one measurement of one workload against one peer. The job comes as a message from the
 * parent, who ends the process too. It stands still after each step until the parent says that all have come so far, so
 * that several of them begin together.
 *
 * @typedef {object} Job
 * @property {string} peer
 * @property {string} workload
 * @property {import("./peers/index.js").Endpoint} endpoint
 * @property {string} prefix What the names of this measurement begin with: no other has any of them.
 * @property {number} proofMs
 * @property {import("./workloads/index.js").Timing} timing
 * @property {{ index: number, count: number }} among Which of how many load processes this is.
 *
 * @typedef {object} Part What one load process hands back.
 * @property {Record<string, number>} figures
 * @property {number} violations
 * @property {import("./exclusion.js").Stay[] | null} stays Null where nothing was provoked.
 * @property {boolean} goesOn Nothing was left running: this process can take another job.
 */

import { provoke } from "./exclusion.js";
import { PEERS } from "./peers/index.js";
import { cleanUpNow } from "./processes.js";
import { WORKLOADS } from "./workloads/index.js";

process.on("exit", cleanUpNow); // A workload may have started servers of its own.
process.on("SIGTERM", () => process.exit(1));
process.once("disconnect", () => process.exit(1)); // The parent is gone.
process.on("message", (/** @type {{ job?: Job }} */ { job }) => {
  if (job === undefined) return;
  measure(job).then(
    (part) => process.send?.({ part }),
    (error) => process.stderr.write(`${error?.stack ?? error}\n`, () => process.exit(1)),
  );
});

/**
 * @param {Job} job
 * @returns {Promise<Part>}
 */
async function measure({ peer: peerName, workload: workloadName, endpoint, prefix, proofMs, timing, among }) {
  const peer = PEERS.find(({ name }) => name === peerName);
  const workload = WORKLOADS.find(({ name }) => name === workloadName);
  if (peer === undefined || workload === undefined) {
    throw new Error(`no such job: ${peerName} ${workloadName}`);
  }
  const client = await peer.connect(endpoint);
  await untilAllAreHere();
  const { kind = "exclusive", isSelfMeasured } = workload;
  const stays = isSelfMeasured
    ? null
    : await provoke(client, { prefix, forMs: proofMs, kind, processes: among.count });
  await untilAllAreHere();
  const {
    figures,
    violations,
    isUnfinished = false,
  } = await workload.run(client, timing, {
    endpoint,
    among,
    prefix: `${prefix}-${among.index}`,
  });
  await client.close();
  return { figures, violations, stays, goesOn: !isUnfinished };
}

function untilAllAreHere() {
  const here = new Promise((resolve) => process.once("message", resolve));
  process.send?.({ here: true });
  return here;
}
