// A PostgreSQL server for one test file, in a new folder, listening on a socket in that folder and nowhere else.
// Forked with the folder of its programs; says `{ folder }` when it takes connections. It is ended, and its folder
// removed, when the parent hangs up, also when that is because the parent was killed.
import { spawn } from "node:child_process";
import { chownSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [programs] = process.argv.slice(2);
const user = userToRunAs();
const folder = mkdtempSync(join(tmpdir(), "fencing-"));
const data = join(folder, "data");
if (user !== null) chownSync(folder, user.uid, user.gid);

let running = null;
let ending = false;
process.once("disconnect", end);
process.once("SIGTERM", end);
process.on("SIGINT", () => {}); // Ctrl-C reaches the parent too, which then hangs up.

try {
  await initdb();
  if (!ending) await postgres();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  if (process.connected) process.disconnect();
}

async function initdb() {
  const options = ["--username=tester", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"];
  const { code, output } = await run("initdb", ["-D", data, ...options]);
  if (code !== 0 && !ending) throw new Error(`initdb ended with ${code}.\n${output}`);
}

async function postgres() {
  // Nothing here has to survive a power cut.
  const options = [
    "fsync=off",
    "autovacuum=off",
    "shared_buffers=16MB",
    "max_connections=20",
    "listen_addresses=",
  ];
  const args = ["-D", data, "-k", folder, ...options.flatMap((option) => ["-c", option])];
  const { code, output } = await run("postgres", args, (text) => {
    if (/ready to accept connections/.test(text) && process.connected) process.send({ folder });
  });
  if (!ending) throw new Error(`postgres ended with ${code}.\n${output}`);
}

function run(program, args, onError = () => {}) {
  return new Promise((resolve, reject) => {
    let output = "";
    running = spawn(join(programs, program), args, {
      cwd: folder,
      env: { PATH: process.env.PATH, LC_ALL: "C" },
      stdio: ["ignore", "ignore", "pipe"],
      ...user,
    });
    running.stderr.setEncoding("utf8").on("data", (text) => {
      output += text;
      onError(output);
    });
    running.once("error", reject);
    running.once("close", (code) => resolve({ code, output }));
  });
}

/** Its fast shutdown; if that takes long, its immediate one. Never SIGKILL, which would leave shared memory behind. */
function end() {
  ending = true;
  running?.kill("SIGINT");
  setTimeout(() => running?.kill("SIGQUIT"), 3_000).unref();
}

/** PostgreSQL refuses to run as root. */
function userToRunAs() {
  if (process.getuid() !== 0) return null;
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
    if (uid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error("Run as root, this needs a user named postgres or nobody.");
}
