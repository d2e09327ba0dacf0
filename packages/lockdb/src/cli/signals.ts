import { constants } from "node:os";
import { ExitError } from "./exit.js";

/** Signals that ask a process to end. */
export const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const satisfies readonly NodeJS.Signals[];

/** Calls back at each of the signals, instead of what they do by default, until the returned function is called. */
export function onSignals(
  signals: readonly NodeJS.Signals[],
  callback: (signal: NodeJS.Signals) => void,
): () => void {
  for (const signal of signals) process.on(signal, callback);
  return () => {
    for (const signal of signals) process.off(signal, callback);
  };
}

/** The exit code of a process that a signal ended, as shells have it. */
export function signalExitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** A result, or the end of this process's work by a signal: the caller can still tidy up. */
export async function unlessInterrupted<T>(work: Promise<T>): Promise<T> {
  let off = () => {};
  const interrupted = new Promise<never>((_resolve, reject) => {
    off = onSignals(ENDING, (signal) => reject(new ExitError(signalExitCode(signal))));
  });
  try {
    return await Promise.race([work, interrupted]);
  } finally {
    off();
  }
}
