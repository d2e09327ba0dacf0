import { Loop, type LoopOptions } from "../../src/loop/index.js";

/** A loop whose time stands still, and whose timers never come, unless `runtime` says otherwise. */
export function stillLoop(
  openStore: LoopOptions["openStore"],
  runtime: Partial<LoopOptions["runtime"]> = {},
): Promise<Loop> {
  return Loop.start({
    openStore,
    service: { waitersMax: 10, holdsMax: 10, sessionsMax: 10, writesSessionHolds: false },
    servicesMax: 10,
    runtime: {
      monotonicMs: () => 0,
      wallMs: () => 0,
      randomId: () => "log",
      defer: (run) => void setImmediate(run),
      setTimer: () => () => {},
      ...runtime,
    },
    log: { warn: () => {}, error: () => {} },
  });
}
