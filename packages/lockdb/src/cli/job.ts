import { type ChildProcess, spawn } from "node:child_process";
import { ExitError } from "./exit.js";
import { EXIT } from "./exit-codes.js";
import { signalExitCode } from "./signals.js";

/** A command in a process group of its own, so that it can be stopped with all that it started. */
export class Job {
  /** The command's exit code; 128 + n after signal n. Rejects when it could not be started. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  #isRunning = true;

  /** Starts a command without a shell, on our own standard streams. */
  constructor(command: readonly string[], env: Readonly<Record<string, string>>) {
    const [file, ...args] = command as [string, ...string[]];
    this.#child = spawn(file, args, { detached: true, stdio: "inherit", env: { ...process.env, ...env } });
    this.ended = new Promise<number>((resolve, reject) => {
      this.#child.once("error", (error) => reject(startError(file, error)));
      this.#child.once("exit", (code, signal) => resolve(code ?? signalExitCode(signal!)));
    }).finally(() => {
      this.#isRunning = false;
    });
  }

  /** True until the command itself has ended; what it started may live on. */
  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** True while any process of the group is there. */
  get hasProcesses(): boolean {
    return this.#signal(0) !== "ESRCH";
  }

  /**
   * Signals every process of the group.
   * @returns false when there are some and none may be signalled, such as those of another user
   */
  signal(signal: NodeJS.Signals): boolean {
    return this.#signal(signal) !== "EPERM";
  }

  #signal(signal: NodeJS.Signals | 0): string | null {
    if (this.#child.pid === undefined) return "ESRCH";
    try {
      process.kill(-this.#child.pid, signal);
      return null;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? null;
    }
  }
}

function startError(file: string, error: NodeJS.ErrnoException): ExitError {
  if (error.code === "ENOENT") return new ExitError(EXIT.notFound, `${file}: command not found`);
  if (error.code === "EACCES") return new ExitError(EXIT.notExecutable, `${file}: not executable`);
  return new ExitError(EXIT.notExecutable, `${file}: could not be started (${error.message})`);
}
