export type * from "./commands.js";
export { Deadlines, type Timed } from "./deadlines.js";
export { Engine } from "./engine.js";
export type { DurableRecord } from "./restore.js";
