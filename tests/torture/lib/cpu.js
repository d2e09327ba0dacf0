import { readFileSync } from "node:fs";

const TICK_MS = 10;

/** Milliseconds of processor time that a process has had: what it took itself, however busy the machine is. Zero where nobody knows. @param {number} pid */
export function cpuMsOf(pid) {
  try {
    // The name may have spaces in it; what follows its bracket has none.
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return 0;
  }
}
