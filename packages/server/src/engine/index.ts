export type * from "./commands.js";
export { type Crowds, FOUND_MAX, type LongWait, Most, type OldHold, type Survey } from "./contention.js";
export { Deadlines, type Timed } from "./deadlines.js";
export { Engine } from "./engine.js";
export { LEASE_TIMES, onOtherClock } from "./lease-times.js";
export type { DurableRecord, ManyRecords } from "./packed-holds.js";
export type { RecordPlace } from "./packed-record.js";
export type { SlowWait } from "./slow-waits.js";
export { Histogram, type HoldEnd, SPANS_MS, Tally, Totals } from "./totals.js";
