// Opens the store in the folder named by its argument, says so, and keeps it until it is killed or its input ends.
import { writeSync } from "node:fs";
import { openLmdbStore } from "../../../dist/store/lmdb.js";

try {
  const store = await openLmdbStore(process.argv[2]);
  writeSync(1, "opened\n");
  process.stdin.resume().on("end", () => store.close());
} catch (error) {
  writeSync(1, `${error.name}: ${error.message}\n`);
}
