export type * from "./commands.js";
export { Deadlines, type Timed } from "./deadlines.js";
export { Engine } from "./engine.js";
export type { DurableRecord, ManyRecords } from "./restore.js";
export type { SlowWait } from "./slow-waits.js";
export { Histogram, type HoldEnd, Totals } from "./totals.js";
