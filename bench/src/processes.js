/** What a run leaves behind is nothing: every child process and folder is known here, and ended from here. */

import { execFile, fork, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const READY_WITHIN_MS = 15_000;
const STOP_WITHIN_MS = 5_000;
const OUTPUT_KEPT = 4_000;

const PORT_ATTEMPTS = 100;

/**
 * What ends a process: with time to clean up, and at once.
 *
 * @typedef {{ gently: NodeJS.Signals, now: NodeJS.Signals }} Ends
 * @type {Ends}
 */
const SERVER_ENDS = { gently: "SIGTERM", now: "SIGKILL" };
/** A program of ours may have started servers of its own, and takes them along. @type {Ends} */
const PROGRAM_ENDS = { gently: "SIGTERM", now: "SIGTERM" };

/** @type {Map<import("node:child_process").ChildProcess, Ends>} */
const children = new Map();
/** @type {Set<string>} */
const folders = new Set();

/** Ends everything at once; also for the way out after a failure or Ctrl-C, when nothing can be awaited. */
export function cleanUpNow() {
  for (const [child, { now }] of children) child.kill(now);
  for (const folder of folders) {
    // A server that was killed a moment ago may still be writing.
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
  children.clear();
  folders.clear();
}

export function folderTemporary() {
  const folder = mkdtempSync(join(tmpdir(), "lockdb-bench-"));
  folders.add(folder);
  return folder;
}

/**
 * Starts a server and waits for the line that says it is ready.
 *
 * @param {object} options
 * @param {string} options.command
 * @param {readonly string[]} options.args
 * @param {Record<string, string>} [options.env]
 * @param {{ uid: number, gid: number }} [options.user] who runs it, when not we ourselves
 * @param {Ends} [options.ends]
 * @param {RegExp} options.ready
 * @param {number} [options.withinMs]
 * @returns {Promise<{ ready: RegExpExecArray, child: import("node:child_process").ChildProcess, stop: () => Promise<void> }>}
 */
export async function startServer({
  command,
  args,
  env = {},
  user,
  ends = SERVER_ENDS,
  ready,
  withinMs = READY_WITHIN_MS,
}) {
  const child = spawnKnown(command, args, env, { user, ends });
  const what = [command, ...args.slice(0, 2)].join(" ");
  let output = "";
  const match = await /** @type {Promise<RegExpExecArray>} */ (
    new Promise((resolve, reject) => {
      const fail = (/** @type {string} */ why) => reject(new Error(`${what}: ${why}\n${output}`.trim()));
      const timer = setTimeout(() => fail(`not ready within ${withinMs} ms`), withinMs);
      child.on("error", (error) => fail(error.message));
      child.on("exit", (code, signal) => fail(`ended with ${signal ?? code} before it was ready`));
      // Some say it on the one, some on the other.
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding("utf8").on("data", (text) => {
          output = (output + text).slice(-OUTPUT_KEPT);
          const found = ready.exec(output);
          if (found === null) return;
          clearTimeout(timer);
          resolve(found);
        });
      }
    })
  ).catch(async (error) => {
    await stop(child);
    throw error;
  });
  return { ready: match, child, stop: () => stop(child) };
}

/**
 * Says a line to a running program, and gives the next line that it says.
 *
 * @param {import("node:child_process").ChildProcess} child
 * @param {string} line
 */
export function ask(child, line) {
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error("it has no standard input or output");
  return /** @type {Promise<string>} */ (
    new Promise((resolve, reject) => {
      let text = "";
      const ended = () => {
        stdout.off("data", read);
        reject(new Error("it ended before it answered"));
      };
      const read = (/** @type {Buffer} */ chunk) => {
        text += chunk;
        const end = text.indexOf("\n");
        if (end < 0) return;
        stdout.off("data", read);
        child.off("exit", ended);
        resolve(text.slice(0, end));
      };
      stdout.on("data", read);
      child.once("exit", ended);
      stdin.write(`${line}\n`);
    })
  );
}

/**
 * Runs a command to its end, as from the shell.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Record<string, string>} [env]
 * @returns {Promise<{ ms: number, stdout: string }>} Rejects when it fails.
 */
export function runToEnd(command, args, env = {}) {
  const startMs = performance.now();
  const child = spawnKnown(command, args, env);
  const output = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => {
    output.stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    output.stderr = (output.stderr + chunk).slice(-OUTPUT_KEPT);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const ms = performance.now() - startMs;
      if (code === 0) resolve({ ms, stdout: output.stdout });
      else
        reject(new Error(`${command} ${args[0]} ended with ${signal ?? code}: ${firstLines(output.stderr)}`));
    });
  });
}

/**
 * Runs a Node program to its end: one line of JSON goes in, one comes out.
 *
 * @param {string} program
 * @param {unknown} job
 * @param {number} withinMs
 */
export async function runProgram(program, job, withinMs) {
  const child = spawnKnown(process.execPath, [program], {});
  let stdout = "";
  let stderr = "";
  let late = false;
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr = (stderr + chunk).slice(-OUTPUT_KEPT);
  });
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, withinMs);
  const code = await new Promise((resolve, reject) => {
    child.on("error", reject).on("close", (code, signal) => resolve(signal ?? code));
    // Standard input stays open: its end tells the program that we are gone.
    child.stdin.write(`${JSON.stringify(job)}\n`);
  }).finally(() => clearTimeout(timer));
  if (late) throw new Error(`no result within ${withinMs} ms`);
  if (code !== 0) throw new Error(firstLines(stderr) || `the load process ended with ${code}`);
  return JSON.parse(stdout);
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {Promise<string | undefined>} What it prints, or undefined when there is no such program.
 */
export async function versionOf(command, args) {
  try {
    return (await promisify(execFile)(command, args, { timeout: 5_000 })).stdout.trim();
  } catch {
    return undefined;
  }
}

/**
 * The version of an installed dependency of ours.
 *
 * @param {string} name
 */
export function dependencyVersion(name) {
  const file = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  return `${name} ${JSON.parse(readFileSync(file, "utf8")).version}`;
}

/**
 * A port that was free a moment ago, for servers that cannot choose one and say which. Each is given out once.
 *
 * @param {number} [max] the highest that will do
 */
export async function portFree(max = 65_535) {
  for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt += 1) {
    const port = await /** @type {Promise<number>} */ (
      new Promise((resolve, reject) => {
        const server = createServer();
        server.on("error", reject);
        server.listen(0, "127.0.0.1", () => {
          const address = server.address();
          const port = address !== null && typeof address === "object" ? address.port : 0;
          server.close(() => resolve(port));
        });
      })
    );
    if (port > max || portsGiven.has(port)) continue;
    portsGiven.add(port);
    return port;
  }
  throw new Error(`no free port up to ${max}`);
}

/** @type {Set<number>} */
const portsGiven = new Set();

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Record<string, string>} env
 * @param {{ user?: { uid: number, gid: number } | undefined, ends?: Ends }} [options]
 */
function spawnKnown(command, args, env, { user, ends = SERVER_ENDS } = {}) {
  const child = spawn(command, args, { env: environment(env), ...user });
  know(child, ends);
  child.stdin.on("error", () => {}); // It ended before it read; its exit tells the story.
  return child;
}

/**
 * A Node program that is talked to in messages, and ends when we do.
 *
 * @param {string} program
 */
export function forkKnown(program) {
  const child = fork(program, [], { env: environment({}), stdio: ["ignore", "ignore", "pipe", "ipc"] });
  know(child, PROGRAM_ENDS);
  return child;
}

/**
 * The caller's own LOCKDB_* settings must not change what is measured.
 *
 * @param {Record<string, string>} added
 */
function environment(added) {
  const inherited = Object.entries(process.env).filter(([key]) => !key.startsWith("LOCKDB_"));
  return { ...Object.fromEntries(inherited), ...added };
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @param {Ends} ends
 */
function know(child, ends) {
  children.set(child, ends);
  child.once("exit", () => children.delete(child));
  child.once("error", () => children.delete(child));
}

/** @param {import("node:child_process").ChildProcess} child */
export async function stop(child) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const { gently, now } = children.get(child) ?? SERVER_ENDS;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(gently);
  const timer = setTimeout(() => child.kill(now), STOP_WITHIN_MS);
  await ended;
  clearTimeout(timer);
}

const firstLines = (/** @type {string} */ text) => text.trim().split("\n").slice(0, 12).join("\n");
