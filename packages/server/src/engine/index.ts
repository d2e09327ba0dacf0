export type * from "./commands.js";
export { Deadlines, type Timed } from "./deadlines.js";
export { Engine } from "./engine.js";
export type { DurableRecord, ManyRecords } from "./restore.js";
