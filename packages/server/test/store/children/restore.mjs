// Restores a backup into a folder. With a third argument it says when it has come so far, and waits there until it is killed.
import { writeSync } from "node:fs";
import { Filling } from "../../../dist/backup/filling.js";
import { restoreBackup } from "../../../dist/backup/index.js";

const [file, folder, moment] = process.argv.slice(2);
const wait = () =>
  new Promise(() => {
    writeSync(1, `${moment}\n`);
    setInterval(() => {}, 1_000);
  });
const { put, written } = Filling.prototype;
let count = 0;
Filling.prototype.put = async function (change) {
  if (moment === "begun" && ++count === 30_000) await wait();
  await put.call(this, change);
};
Filling.prototype.written = async function () {
  await written.call(this);
  if (moment === "written") await wait();
};
try {
  await restoreBackup(file, folder);
  writeSync(1, "restored\n");
} catch (error) {
  writeSync(1, `${error.name}: ${error.message}\n`);
}
