/** A program of the bench: one job as a line of JSON on standard input, one outcome on standard output, then it ends. */

import { createInterface } from "node:readline";

/** @param {(job: any) => Promise<unknown>} work */
export function runJob(work) {
  const lines = createInterface({ input: process.stdin });
  lines.once("line", (line) => {
    work(JSON.parse(line)).then(
      (outcome) => process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0)),
      (error) => {
        process.stderr.write(`${error?.stack ?? error}\n`, () => process.exit(1));
      },
    );
  });
  lines.once("close", () => process.exit(1)); // The parent is gone.
}
