export { StoreClosedError, StoreFailedError, StoreInUseError, StoreUnusableError } from "./errors.js";
export { openDiskStore } from "./journaled.js";
export { openMemoryStore } from "./memory.js";
export { DamagedRecordError, decodeRecord, encodeRecord, NewerFormatError } from "./records.js";
export type { Change, Entry, Store } from "./store.js";
