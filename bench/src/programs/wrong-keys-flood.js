/** Tries wrong keys: a line says how many a second and for how long, and the next line of output what came of it. */

import { createInterface } from "node:readline";
import { floodWithWrongKeys } from "../wrong-keys.js";

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  void floodWithWrongKeys(JSON.parse(line)).then((flood) =>
    process.stdout.write(`${JSON.stringify(flood)}\n`),
  );
});
lines.on("close", () => process.exit(0));
process.stdout.write("ready\n");
