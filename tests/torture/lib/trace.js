// System calls of a server that fail, or kill it, by strace.
import { spawn } from "node:child_process";
import { join } from "node:path";

/** libuv's threads flush in turns: with one of them the n-th flush is the n-th. */
export const ONE_THREAD = { UV_THREADPOOL_SIZE: "1" };
const ATTACH_MS = 20_000;
/** strace that detaches while its process dies may wait for ever for the main thread, whose end needs that of another that it has not looked at. */
const DETACH_MS = 5_000;

/** The files of a store that are written. */
export function filesOf(dataDir) {
  return ["journal", "store.mdb", "store.mdb-lock", "owner.lock"].map((name) => join(dataDir, name));
}

/**
 * Options of strace. Calls are counted for each thread and each kind of call.
 * @param {object} what
 * @param {readonly string[]} what.files only calls about these
 * @param {string} what.call such as fdatasync
 * @param {string} [what.out] where strace writes what it sees; a call that it has spoilt has the word INJECTED there
 * @param {string} what.what as strace has it: `error=EIO:when=3`, `signal=SIGKILL:when=3`, `retval=0`
 */
export function injecting({ files, call, what, out = "/dev/null" }) {
  return [
    ...["-f", "-o", out, ...files.flatMap((file) => ["-P", file])],
    ...["-e", `trace=${call}`, "-e", `inject=${call}:${what}`],
  ];
}

/**
 * Begins to trace a process that runs, and resolves once it does.
 * @param {import("./stage.js").Stage} stage
 * @returns {Promise<{ detach: () => Promise<unknown> }>}
 */
export async function attached(stage, pid, options) {
  const strace = spawn("strace", [...options, "-p", `${pid}`], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => strace.once("close", resolve));
  const detach = async () => {
    strace.kill("SIGINT");
    const timer = setTimeout(() => strace.kill("SIGKILL"), DETACH_MS); // The kernel detaches for it.
    await ended;
    clearTimeout(timer);
  };
  const forget = stage.onEnd(detach, () => strace.kill("SIGINT"));
  void ended.then(forget);
  let said = "";
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`strace does not attach: ${said}`)), ATTACH_MS);
    strace.stderr.setEncoding("utf8").on("data", (text) => {
      said = `${said}${text}`.slice(-2_000);
      if (!/ attached/.test(said)) return;
      clearTimeout(timer);
      resolve(undefined);
    });
    void ended.then(() => {
      clearTimeout(timer);
      reject(new Error(`strace ended: ${said}`));
    });
  });
  return { detach };
}
