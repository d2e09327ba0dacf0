/**
 * The load process: one measurement of one workload against one peer, then it ends. The job comes in as a line
 * of JSON on standard input, the outcome goes out as one on standard output.
 *
 * @typedef {object} Job
 * @property {string} peer
 * @property {string} workload
 * @property {import("./peers/index.js").Endpoint} endpoint
 * @property {number} proofMs
 * @property {import("./workloads/index.js").Timing} timing
 */

import { createInterface } from "node:readline";
import { proveExclusion } from "./exclusion.js";
import { PEERS } from "./peers/index.js";
import { WORKLOADS } from "./workloads/index.js";

const lines = createInterface({ input: process.stdin });
lines.once("line", (line) => {
  measure(JSON.parse(line)).then(
    (outcome) => process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0)),
    (error) => {
      process.stderr.write(`${error?.stack ?? error}\n`, () => process.exit(1));
    },
  );
});
lines.once("close", () => process.exit(1)); // The parent is gone.

/** @param {Job} job */
async function measure(job) {
  const peer = PEERS.find(({ name }) => name === job.peer);
  const workload = WORKLOADS.find(({ name }) => name === job.workload);
  if (peer === undefined || workload === undefined)
    throw new Error(`no such job: ${job.peer} ${job.workload}`);
  const client = await peer.connect(job.endpoint);
  const proof = await proveExclusion(client, job.proofMs);
  const { figures, violations } = await workload.run(client, job.timing);
  await client.close();
  return { figures, void: whyVoid(peer, proof, violations) };
}

/**
 * @param {import("./peers/index.js").Peer} peer
 * @param {{ entries: number, violations: number }} proof
 * @param {number} violations
 * @returns {string | null}
 */
function whyVoid(peer, proof, violations) {
  if (!peer.excludes) {
    // The check is checked: in a peer that excludes nobody it must find what it looks for.
    return proof.violations > 0
      ? null
      : "the exclusion check is blind: it found nothing where nobody is excluded";
  }
  if (proof.violations + violations > 0) {
    return `mutual exclusion was broken: ${proof.violations} times in the proof, ${violations} in the workload`;
  }
  return proof.entries > 0 ? null : "nobody came in during the proof";
}
