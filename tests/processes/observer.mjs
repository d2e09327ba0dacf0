// Watches a service, and lists its locks again and again: what others see while sets come and go.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { given, notify, serveCalls } from "./mailbox.mjs";

const { service, serverUrl, apiKey } = given;
const locker = new LockDB(service, { serverUrl, apiKey, owner: "observer" });
/** Of more holders a list shows only some. */
const HOLDERS_SHOWN_MAX = 10;
/** Others have work to do, too. */
const PAUSE_MS = 5;

const watch = locker.watch();
const events = [];
const watching = (async () => {
  for await (const event of watch) events.push(event);
})();

let isStopped = false;
let [lists, setsSeen] = [0, 0];
const partly = [];
// What is listed from now on misses nothing of what is watched.
await list();
const listing = (async () => {
  while (!isStopped) {
    await list();
    await setTimeout(PAUSE_MS);
  }
})();

serveCalls({
  stop: async () => {
    isStopped = true;
    await listing;
    // It comes after all that has happened.
    await locker.inspect("anything");
    await watch.return();
    await watching;
    return { events, lists, setsSeen, partly };
  },
});
notify("ready");

async function list() {
  const infos = [];
  for await (const info of locker.list()) infos.push(info);
  lists++;
  const byName = new Map(infos.map((info) => [info.name, info]));
  const sets = new Map(infos.flatMap(({ holders }) => holders.map((holder) => [holder.token, holder])));
  for (const { token, names = [] } of sets.values()) {
    setsSeen++;
    for (const name of names) {
      const holders = byName.get(name)?.holders ?? [];
      if (holders.length >= HOLDERS_SHOWN_MAX) continue;
      const same = holders.find((holder) => holder.token === token);
      if (same?.names?.join() !== names.join()) partly.push(`#${token} of ${names} is not shown on ${name}`);
    }
  }
}
