// Commits batch after batch until it is killed or a commit fails. It prints the number of a batch once it is acknowledged.
// Every batch sets all slots to its number: slots that differ would show a torn batch.
import { writeSync } from "node:fs";
import { openDiskStore } from "../../../dist/store/index.js";
import { openLmdbStore } from "../../../dist/store/lmdb.js";

const [folder, first, valueBytes, kind] = process.argv.slice(2);
const open = kind === "journaled" ? openDiskStore : openLmdbStore;
const store = await open(folder);
let batch = Number(first);
try {
  for (; ; batch++) {
    const number = Buffer.from(String(batch));
    const slots = Array.from({ length: 20 }, (_, slot) => ({ key: `slot/${slot}`, value: number }));
    const log = { key: `log/${batch}`, value: new Uint8Array(Number(valueBytes)) };
    await store.commit([...slots.slice(10), log, ...slots.slice(0, 10)]);
    writeSync(1, `${batch}\n`);
  }
} catch (error) {
  writeSync(1, `${error.name}: ${error.message}\n`);
}
const outcomes = await Promise.allSettled([
  store.commit([{ key: "later", value: new Uint8Array(1) }]),
  store.commit([]),
  store.load("")[Symbol.asyncIterator]().next(),
]);
writeSync(1, `${outcomes.map(({ reason }) => reason?.name)}\n`);
await store.close();
try {
  await (await open(folder)).close();
  writeSync(1, "opened again\n");
} catch (error) {
  writeSync(1, `not opened again: ${error.message}\n`);
}
