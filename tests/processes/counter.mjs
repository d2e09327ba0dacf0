// Adds one to a number in a file, again and again, under one lock that many such processes want.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import LockDB from "lockdb";
import { given, notify, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, cycles, numberFile, logFile } = given;
const locker = new LockDB("counter", { serverUrl, apiKey });
await locker.check("number");

serveCalls({
  run: async () => {
    for (let cycle = 0; cycle < cycles; cycle++) {
      await locker.withLock("number", { wait: "forever" }, async ({ token, ticket }) => {
        const number = Number(readFileSync(numberFile, "utf8"));
        // Without the lock, others would read the same number now.
        await setImmediate();
        writeFileSync(numberFile, String(number + 1));
        appendFileSync(logFile, `${token} ${ticket ?? "-"}\n`);
      });
    }
    await locker.close();
  },
});
notify("ready");
