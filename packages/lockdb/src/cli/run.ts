import type { Command } from "commander";
import { LockLostError } from "../client/errors.js";
import type { Lease } from "../index.js";
import { LEASE_MS_DEFAULT } from "../protocol/index.js";
import {
  addServerFlags,
  count,
  duration,
  namesOf,
  openClient,
  type ServerFlags,
  waitMsOrForever,
} from "./args.js";
import { ExitError, UsageError, type Voice, warn } from "./exit.js";
import { exitHelp } from "./exit-codes.js";
import { Job } from "./job.js";
import { ENDING, onSignals, signalExitCode } from "./signals.js";
import { spanText } from "./words.js";

interface RunFlags extends ServerFlags {
  readonly waitTimeoutInMs?: number | "forever";
  readonly minHold?: number;
  readonly maxHold?: number;
  readonly lease?: number;
  readonly shared?: boolean;
  readonly permits?: number;
  readonly weight?: number;
}

/** What the command would get from the terminal or its parent if it were not in a process group of its own. */
const FORWARDED = [
  ...ENDING,
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
] as const satisfies readonly NodeJS.Signals[];

/** The longest notice a command gets before its lock can no longer be trusted. */
const NOTICE_MS_MAX = 2_000;

/** `run`: a command under a lock (I4). `command` is what stands after `--`. */
export function addRunCommand(program: Command, command: readonly string[]): void {
  const run = program
    .command("run")
    .summary("run a command while holding a lock")
    .usage("<name[,name...]> [options] -- <command...>")
    .description(
      "Waits for the lock, runs the command while holding it, and releases it when the command has ended.",
    )
    .argument("<name[,name...]>", "lock name; of several, all at once or none")
    .option("--shared", "share the lock with others who do, and with nobody who does not")
    .option("--permits <n>", "run when one of this many permits is free, as for a semaphore", count)
    .option("--weight <n>", "how many of the permits to take (default: 1)", count)
    .option(
      "-w, --wait-timeout-in-ms <time>",
      'how long to wait: in ms, or such as 30s, or "forever"; 0 asks once (default: 30s)',
      waitMsOrForever,
    )
    .option(
      "--min-hold <duration>",
      "keep the lock at least this long, even if the command ends sooner",
      duration,
    )
    .option("--max-hold <duration>", "stop the command when it has held the lock this long", duration)
    .option(
      "--lease <duration>",
      "how long the server keeps the lock without hearing from us (default: 10s)",
      duration,
    );
  addServerFlags(run)
    .addHelpText(
      "after",
      `
The command is run as it is, without a shell, in a process group and session of
its own; Ctrl-C and other signals to \`lockdb run\` are passed on to that group.
LOCKDB_TOKEN in its environment is the fencing token, greater than that of every
earlier holder. Processes that the command leaves behind are left alone.

If the server cannot be reached, the whole group gets SIGTERM shortly before the
lock can no longer be trusted (2 s, or a quarter of --lease or --max-hold if that
is less), and SIGKILL when it cannot: nobody else gets the lock before. A lock
that was taken away by force means SIGKILL at once.

${exitHelp("run")}

Examples:
  lockdb run nightly-report -- ./make-report --all
  lockdb run cleanup -w 0 --min-hold 30s -- sh -c './sweep && ./report'
  lockdb run encode --permits 4 -- ./encode-video`,
    )
    .action((name: string, flags: RunFlags) => runUnderLock(name, command, flags));
}

async function runUnderLock(name: string, command: readonly string[], flags: RunFlags): Promise<void> {
  if (command.length === 0) {
    throw new UsageError("No command. Put it after --, such as: lockdb run nightly -- ./report.sh --all");
  }
  const names = namesOf(name);
  const voice: Voice = { command: "run", json: flags.json === true };
  const client = await openClient(flags);
  let job: Job | null = null;
  const waiting = new AbortController();
  const offSignals = onSignals(FORWARDED, (signal) => {
    if (job !== null) {
      if (job.isRunning) job.signal(signal);
    } else if (signal !== "SIGWINCH") waiting.abort(new ExitError(signalExitCode(signal)));
  });
  let offSuspend = () => {};
  try {
    const lease = await client.acquire(names, {
      signal: waiting.signal,
      ...(flags.shared === true ? { mode: "shared" } : {}),
      ...(flags.permits === undefined ? {} : { permits: flags.permits }),
      ...(flags.weight === undefined ? {} : { weight: flags.weight }),
      ...(flags.waitTimeoutInMs === undefined ? {} : { wait: flags.waitTimeoutInMs }),
      ...(flags.minHold === undefined ? {} : { minHold: flags.minHold }),
      ...(flags.maxHold === undefined ? {} : { maxHold: flags.maxHold }),
    });
    waiting.signal.throwIfAborted();
    // A process that is suspended renews nothing, and the command would run on without its lock.
    offSuspend = onSignals(["SIGTSTP"], () => warn("not suspended: the lock would be lost meanwhile", voice));
    job = new Job(command, { LOCKDB_TOKEN: String(lease.token) });
    process.exitCode = await guarded(job, lease, noticeMsOf(flags), voice);
  } finally {
    await client.close();
    offSignals();
    offSuspend();
  }
}

/** A quarter of the lease is less than what remains of it at any time while renewals work. */
function noticeMsOf({ lease = LEASE_MS_DEFAULT, maxHold = Number.POSITIVE_INFINITY }: RunFlags): number {
  return Math.min(NOTICE_MS_MAX, lease / 4, maxHold / 4);
}

/**
 * Waits for the job, stops it in good time when its lock is about to be lost, and releases the lock.
 * @returns the job's exit code
 * @throws LockLostError when the job was stopped, or the lock was over before it had ended
 */
async function guarded(job: Job, lease: Lease, noticeMs: number, voice: Voice): Promise<number> {
  const guard = new Guard(job, lease, noticeMs, voice);
  try {
    const exitCode = await job.ended;
    await guard.stopRest();
    if (lease.signal.aborted) throw lease.signal.reason;
    if (guard.isStopping) {
      throw new LockLostError("The lock could not be renewed, so the command was stopped in time.");
    }
    return exitCode;
  } finally {
    guard.end();
    await released(lease, voice);
  }
}

/** SIGTERM to the job's whole group while the lock can still be trusted, SIGKILL the moment it cannot. */
class Guard {
  readonly #job: Job;
  readonly #lease: Lease;
  readonly #noticeMs: number;
  readonly #voice: Voice;
  readonly #ends: (() => void)[];
  #timer: NodeJS.Timeout | undefined;
  #stoppedAtMs: number | null = null;

  constructor(job: Job, lease: Lease, noticeMs: number, voice: Voice) {
    this.#job = job;
    this.#lease = lease;
    this.#noticeMs = noticeMs;
    this.#voice = voice;
    const kill = () => this.#kill();
    lease.signal.addEventListener("abort", kill);
    lease.onAtRisk((remainingMs) => {
      warn(`the server does not answer; the lock can be trusted for another ${spanText(remainingMs)}`, voice);
    });
    // If this process dies of a mistake of its own, nobody would stop the job when the lock is lost.
    process.on("exit", kill);
    this.#ends = [() => lease.signal.removeEventListener("abort", kill), () => process.off("exit", kill)];
    if (lease.signal.aborted) kill();
    else this.#watch();
  }

  /** True once the job was signalled because of its lock. */
  get isStopping(): boolean {
    return this.#stoppedAtMs !== null;
  }

  /** After the command itself has been stopped: what it started gets the rest of the notice, and then ends too. */
  async stopRest(): Promise<void> {
    if (this.#stoppedAtMs === null) return;
    while (this.#job.hasProcesses && performance.now() - this.#stoppedAtMs < this.#noticeMs) {
      if (this.#lease.signal.aborted) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.#job.signal("SIGKILL");
  }

  end(): void {
    clearTimeout(this.#timer);
    for (const end of this.#ends) end();
  }

  /** Sleeps until the notice would begin if nothing were renewed meanwhile. Renewals may fail, recover and fail again. */
  #watch(): void {
    const leftMs = this.#lease.remainingMs - this.#noticeMs;
    if (leftMs > 0) {
      this.#timer = setTimeout(() => this.#watch(), Math.ceil(leftMs));
      return;
    }
    this.#stoppedAtMs = performance.now();
    warn(
      `the lock ends in ${spanText(this.#lease.remainingMs)}: stopping the command with SIGTERM`,
      this.#voice,
    );
    this.#job.signal("SIGTERM");
  }

  #kill(): void {
    clearTimeout(this.#timer);
    this.#stoppedAtMs ??= performance.now();
    if (!this.#job.signal("SIGKILL")) {
      warn("the lock is lost, and the command cannot be killed: it belongs to another user", this.#voice);
    }
  }
}

/** Gives the lock back. What the server cannot be told now ends with its lease, and is no failure of the job. */
async function released(lease: Lease, voice: Voice): Promise<void> {
  if (lease.signal.aborted) return;
  const trustedUntilMs = performance.now() + lease.remainingMs;
  let wasHeld: boolean;
  try {
    wasHeld = await lease.release();
  } catch (error) {
    warn(`the lock could not be released, and ends with its lease. ${(error as Error).message}`, voice);
    return;
  }
  if (!wasHeld && performance.now() < trustedUntilMs) {
    throw new LockLostError("The lock was over before the command had ended.");
  }
}
