/** What a run leaves behind is nothing: every child process and folder is known here, and ended from here. */

import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const READY_WITHIN_MS = 15_000;
const STOP_WITHIN_MS = 5_000;
const OUTPUT_KEPT = 4_000;

/** @type {Set<import("node:child_process").ChildProcess>} */
const children = new Set();
/** @type {Set<string>} */
const folders = new Set();

/** Ends everything at once; also for the way out after a failure or Ctrl-C, when nothing can be awaited. */
export function cleanUpNow() {
  for (const child of children) child.kill("SIGKILL");
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
 * @param {{ command: string, args: readonly string[], env?: Record<string, string>, ready: RegExp }} options
 * @returns {Promise<{ ready: RegExpExecArray, stop: () => Promise<void> }>}
 */
export async function startServer({ command, args, env = {}, ready }) {
  const child = spawnKnown(command, args, env);
  const what = [command, ...args.slice(0, 2)].join(" ");
  const output = { stdout: "", stderr: "" };
  child.stderr.on("data", (chunk) => {
    output.stderr = (output.stderr + chunk).slice(-OUTPUT_KEPT);
  });
  const match = await /** @type {Promise<RegExpExecArray>} */ (
    new Promise((resolve, reject) => {
      const fail = (/** @type {string} */ why) =>
        reject(new Error(`${what}: ${why}\n${output.stderr || output.stdout}`.trim()));
      const timer = setTimeout(() => fail(`not ready within ${READY_WITHIN_MS} ms`), READY_WITHIN_MS);
      child.on("error", (error) => fail(error.message));
      child.on("exit", (code, signal) => fail(`ended with ${signal ?? code} before it was ready`));
      child.stdout.on("data", (chunk) => {
        output.stdout = (output.stdout + chunk).slice(-OUTPUT_KEPT);
        const found = ready.exec(output.stdout);
        if (found === null) return;
        clearTimeout(timer);
        resolve(found);
      });
    })
  ).catch(async (error) => {
    await stop(child);
    throw error;
  });
  return { ready: match, stop: () => stop(child) };
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

/** A port that was free a moment ago, for servers that cannot choose one and say which. */
export async function portFree() {
  return /** @type {Promise<number>} */ (
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
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Record<string, string>} env
 */
function spawnKnown(command, args, env) {
  // The caller's own LOCKDB_* settings must not change what is measured.
  const inherited = Object.entries(process.env).filter(([key]) => !key.startsWith("LOCKDB_"));
  const child = spawn(command, args, { env: { ...Object.fromEntries(inherited), ...env } });
  children.add(child);
  child.once("exit", () => children.delete(child));
  child.once("error", () => children.delete(child));
  child.stdin.on("error", () => {}); // It ended before it read; its exit tells the story.
  return child;
}

/** @param {import("node:child_process").ChildProcess} child */
async function stop(child) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN_MS);
  await ended;
  clearTimeout(timer);
}

const firstLines = (/** @type {string} */ text) => text.trim().split("\n").slice(0, 12).join("\n");
