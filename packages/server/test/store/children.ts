import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { text } from "./contract.js";

/** Runs a script of the folder `children` in a process of its own. */
export function start(script: string, ...args: string[]): ChildProcess {
  return spawn(process.execPath, [childPath(script), ...args], { stdio: ["pipe", "pipe", "inherit"] });
}

/** With a limit on the size of its files, in blocks of 512 bytes. */
export function startLimited(blocks: number, script: string, ...args: string[]): ChildProcess {
  const limited = `ulimit -f ${blocks}; exec "$0" "$@"`;
  return spawn("sh", ["-c", limited, process.execPath, childPath(script), ...args]);
}

export async function firstLine(child: ChildProcess): Promise<string> {
  await once(child.stdout!, "readable");
  const chunk = child.stdout!.read() as Buffer;
  child.stdout!.unshift(chunk);
  return text(chunk).split("\n")[0]!;
}

/** All that the child has printed when it ends by itself, or by the signal: whole lines only. */
export async function ended(child: ChildProcess, signal?: NodeJS.Signals): Promise<string> {
  const chunks: Buffer[] = [];
  child.stdout!.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = once(child, "close");
  if (signal !== undefined) child.kill(signal);
  await closed;
  const output = Buffer.concat(chunks).toString();
  return output.slice(0, output.lastIndexOf("\n") + 1);
}

function childPath(script: string): string {
  if (!existsSync(fileURLToPath(new URL("../../dist/store/index.js", import.meta.url)))) {
    throw new Error("Child processes run the build. Run `npm test`, or `npm run build` first.");
  }
  return fileURLToPath(new URL(`./children/${script}`, import.meta.url));
}
