// The packages as strangers get them: packed, and installed in an empty folder with an empty home.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Nothing that is run here takes longer, also on a machine with other work. */
const RUN_MS_MAX = 300_000;

/** What a stranger's shell has: a path, and a home with nothing in it. */
export function strangerEnv(home, more = {}) {
  mkdirSync(home, { recursive: true });
  const { PATH, TMPDIR } = process.env;
  return { PATH, ...(TMPDIR === undefined ? {} : { TMPDIR }), HOME: home, ...more };
}

/** Packs both packages into a folder. Gives the paths: the client's, the server's. */
export async function pack(folder) {
  mkdirSync(folder, { recursive: true });
  for (const name of ["lockdb", "server"]) {
    const args = ["pack", "--silent", "--pack-destination", folder];
    const { code, stderr } = await run("npm", args, { cwd: join(ROOT, "packages", name) });
    if (code !== 0) throw new Error(`npm pack of ${name} ended with ${code}.\n${stderr}`);
  }
  const named = (start) =>
    join(
      folder,
      readdirSync(folder).find((file) => file.startsWith(start)),
    );
  return { client: named("lockdb-0"), server: named("lockdb-server-") };
}

/** Runs a command to its end. */
export async function run(command, args, { cwd, env = process.env, input = "" }) {
  const child = spawn(command, args, { cwd, env, stdio: "pipe", timeout: RUN_MS_MAX });
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"])
    child[stream].setEncoding("utf8").on("data", (text) => {
      said[stream] += text;
    });
  child.stdin.on("error", () => {}).end(input);
  const [code] = await once(child, "close");
  return { code, ...said };
}

/** A server that was started by a command, once it has said where it is, and what its key is. */
export async function startServer(command, args, { cwd, env }) {
  // A group of its own: npx starts another process, which has to end too.
  const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    process.kill(-child.pid, "SIGTERM");
    await once(child, "close");
  };
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text) => {
      said += text;
    });
  const closed = once(child, "close").then(() => true);
  for (;;) {
    const url = /https?:\/\/[\d.]+:\d+/.exec(said)?.[0];
    const key = /ldb_\w+/.exec(said)?.[0];
    if (url !== undefined && key !== undefined) return { url, key, stop, said };
    const more = Promise.race([once(child.stdout, "data"), once(child.stderr, "data"), closed]);
    if ((await more) === true) throw new Error(`The server ended.\n${said}`);
  }
}

/** The blocks of a language in a page. */
export function blocksOf(markdown, ...languages) {
  const all = [...markdown.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)];
  return all.filter(([, language]) => languages.includes(language)).map(([, , code]) => code);
}
