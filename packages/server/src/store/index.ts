export { StoreClosedError, StoreFailedError, StoreInUseError, StoreUnusableError } from "./errors.js";
export { openLmdbStore } from "./lmdb.js";
export { openMemoryStore } from "./memory.js";
export { DamagedRecordError, decodeRecord, encodeRecord, NewerFormatError } from "./records.js";
export type { Change, Entry, Store } from "./store.js";
