import { get } from "node:http";
import { fileURLToPath } from "node:url";
import { startOwnServer } from "../own-server.js";
import { folderTemporary, runProgram, runToEnd } from "../processes.js";

const MAKE_STORE = fileURLToPath(new URL("../programs/make-store.js", import.meta.url));

/** @type {import("./alone.js").Alone} */
export const startUp = {
  name: "start-up",
  about: "from the spawn of `lockdb serve` until /readyz says 200, right after it has said where it listens",
  figures: [
    { key: "emptyMs", title: "empty store: ms" },
    { key: "fullMs", title: "1,000,000 durable records: ms" },
    { key: "nodeMs", title: "for scale, node -e 0: ms" },
  ],
  async measure({ isQuick, rounds: count }) {
    const records = isQuick ? 20_000 : 1_000_000;
    const folder = folderTemporary();
    await runProgram(MAKE_STORE, { folder, records }, 180_000);
    const rounds = [];
    for (let round = 0; round < (isQuick ? 1 : count); round += 1) {
      rounds.push({
        emptyMs: await untilReady(),
        fullMs: await untilReady(folder),
        nodeMs: (await runToEnd(process.execPath, ["-e", "0"])).ms,
      });
    }
    return { rounds, said: isQuick ? [`Quick: ${records.toLocaleString("en-US")} records.`] : [] };
  },
};

/** @param {string} [folder] a new one, if it is not given */
async function untilReady(folder) {
  const startMs = performance.now();
  const server = await startOwnServer({ isWatched: false, ...(folder === undefined ? {} : { folder }) });
  try {
    const status = await statusOf(`${server.endpoint.serverUrl}/readyz`);
    if (status !== 200) throw new Error(`/readyz says ${status}`);
    return performance.now() - startMs;
  } finally {
    await server.stop();
  }
}

/** @param {string} url */
function statusOf(url) {
  return /** @type {Promise<number | undefined>} */ (
    new Promise((resolve, reject) => {
      get(url, { agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).on("error", reject);
    })
  );
}
