export { Connection } from "./connection.js";
export type { Past } from "./event-log.js";
export { LeaseClock } from "./lease-clock.js";
export { Loop, type LoopOptions, type Recipient } from "./loop.js";
export type { Outbox, OutsideChange, OutsideRecord, OwedDelivery } from "./outbox.js";
export { type LoopRuntime, nodeRuntime } from "./runtime.js";
export { ServiceKey } from "./service.js";
