export { BackupFile, type BackupHeader, BackupUnusableError, backupChunks } from "./backup-file.js";
export type { Block } from "./block.js";
export {
  StoreClosedError,
  StoreDeposedError,
  StoreFailedError,
  StoreInUseError,
  StoreUnusableError,
} from "./errors.js";
export { type EtcdStoreOptions, type Guard, openEtcdStore } from "./etcd.js";
export * from "./etcd-api.js";
export { type EtcdOptions, openEtcdClient } from "./etcd-client.js";
export { CLUSTER_DEFAULT, clusterName, type EtcdPlace, etcdPlace, isEtcdUrl } from "./etcd-place.js";
export { syncDirectories } from "./folder.js";
export {
  type FolderMark,
  type MarkKind,
  markFolder,
  markOf,
  refuseMarked,
  unmarkFolder,
} from "./folder-marks.js";
export { openDiskStore } from "./journaled.js";
export { openLmdbStore } from "./lmdb.js";
export { openMemoryStore } from "./memory.js";
export { type JournalState, OfflineStore } from "./offline.js";
export {
  checkRecordIn,
  DamagedRecordError,
  decodeRecord,
  decodeRecordIn,
  encodeRecord,
  NewerFormatError,
  payloadAt,
} from "./records.js";
export type { Change, Entries, Entry, Store } from "./store.js";
