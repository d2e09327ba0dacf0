export type { Block } from "./block.js";
export { StoreClosedError, StoreFailedError, StoreInUseError, StoreUnusableError } from "./errors.js";
export { openDiskStore } from "./journaled.js";
export { openMemoryStore } from "./memory.js";
export {
  DamagedRecordError,
  decodeRecord,
  decodeRecordIn,
  encodeRecord,
  NewerFormatError,
} from "./records.js";
export type { Change, Entries, Entry, Store } from "./store.js";
