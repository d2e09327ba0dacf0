import { COMMAND, startOwnServer } from "../own-server.js";
import { folderTemporary, portFree, runToEnd, startServer, versionOf } from "../processes.js";

/** @type {import("./alone.js").Alone} */
export const cliCold = {
  name: "cli-cold",
  about: "a whole command, from its spawn to its end, as a script runs it",
  figures: [
    { key: "lockMs", title: "lockdb lock NAME: ms" },
    { key: "checkMs", title: "lockdb check NAME: ms" },
    { key: "nodeMs", title: "node -e 0: ms" },
    { key: "redisMs", title: "redis-cli SET NAME … NX PX …: ms" },
    { key: "overNodeMs", title: "lockdb lock, beyond node -e 0: ms" },
  ],
  async measure({ isQuick, rounds: count }) {
    const server = await startOwnServer({ isWatched: false });
    const redis = await startRedis();
    const { serverUrl, apiKey } = server.endpoint;
    const env = { LOCKDB_SERVER_URL: serverUrl, LOCKDB_API_KEY: apiKey, LOCKDB_SERVICE_ID: "bench" };
    const lockdb = async (/** @type {string[]} */ args, /** @type {string} */ answer) => {
      const { ms, stdout } = await runToEnd(process.execPath, [COMMAND, ...args], env);
      if (stdout.trim() !== answer) throw new Error(`lockdb ${args[0]} said ${stdout}`);
      return ms;
    };
    try {
      const rounds = [];
      for (let round = 0; round < (isQuick ? 1 : count * 3); round += 1) {
        const lockMs = await lockdb(["lock", `job-${round}`], "true");
        const checkMs = await lockdb(["check", `job-${round}`], "true");
        const nodeMs = (await runToEnd(process.execPath, ["-e", "0"])).ms;
        const redisMs = redis === null ? {} : { redisMs: await redis.set(`job-${round}`) };
        rounds.push({ lockMs, checkMs, nodeMs, ...redisMs, overNodeMs: lockMs - nodeMs });
      }
      return {
        rounds,
        said: redis === null ? ["Without redis: redis-server or redis-cli is not installed."] : [],
      };
    } finally {
      await redis?.stop();
      await server.stop();
    }
  },
};

async function startRedis() {
  for (const program of ["redis-server", "redis-cli"]) {
    if ((await versionOf(program, ["--version"])) === undefined) return null;
  }
  const port = String(await portFree());
  const settings = ["--save", "", "--appendonly", "no", "--dir", folderTemporary()];
  const server = await startServer({
    command: "redis-server",
    args: ["--bind", "127.0.0.1", "--port", port, ...settings],
    ready: /Ready to accept connections/,
  });
  return {
    stop: server.stop,
    set: async (/** @type {string} */ name) => {
      const args = ["-p", port, "SET", name, "mine", "NX", "PX", "300000"];
      const { ms, stdout } = await runToEnd("redis-cli", args);
      if (stdout.trim() !== "OK") throw new Error(`redis-cli said ${stdout}`);
      return ms;
    },
  };
}
