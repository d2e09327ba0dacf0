export { FOUND_MAX } from "../engine/index.js";
export { AuditLog, auditPrefix } from "./audit-log.js";
export { busyPolling } from "./busy-poll.js";
export {
  type AccountLimits,
  type Caller,
  NEEDS,
  type Need,
  Refusal,
  refusalFor,
  TO_CONNECT,
  whenRefused,
} from "./caller.js";
export type { ClientSocket, SocketListener } from "./client-socket.js";
export { Connection } from "./connection.js";
export { type Contention, ContentionLooks } from "./contention.js";
export type { Past } from "./event-log.js";
export type { IsIn } from "./hand-overs.js";
export { LeaseClock } from "./lease-clock.js";
export { Loop } from "./loop.js";
export { measured } from "./measured-store.js";
export type { LoopOptions } from "./options.js";
export type {
  Act,
  Keeper,
  Outbox,
  OutsideChange,
  OutsideRead,
  OutsideRecord,
  OwedDelivery,
} from "./outbox.js";
export { type Place, type Placement, TrustLostError } from "./placement.js";
export type { Recipient } from "./recipient.js";
export { type LoopRuntime, nodeRuntime } from "./runtime.js";
export { ServerTotals } from "./server-totals.js";
export { ServiceKey } from "./service.js";
export type { Census, SlowWaitOf } from "./services.js";
export {
  CLOCK_KEY,
  FLOOR_KEY,
  type FloorRecord,
  partsIn,
  partsOf,
  readServices,
  type StoredService,
} from "./stored.js";
