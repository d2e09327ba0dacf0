// Preloaded into a server, for whoever wants to know what is in it after a full collection of garbage.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose_gc");
const gc = runInNewContext("gc");

process.on("message", ({ id, op }) => {
  if (op !== "inside") return;
  gc();
  const { heapUsed, rss, external } = process.memoryUsage();
  const sockets = process
    .getActiveResourcesInfo()
    .filter((kind) => /^(TCP|TLS)(Socket)?Wrap$/.test(kind)).length;
  process.send?.({ id, value: { heapUsed, rss, external, sockets } });
});
// That alone is no reason to stay.
process.channel?.unref();
