export { checkBackup } from "./check.js";
export { type Copied, copyStore, writeBackup } from "./copy.js";
export { FloorError } from "./floor.js";
export { inspectStore, type StoreSummary } from "./inspect.js";
export { type Restored, type RestoreOptions, restoreBackup } from "./restore.js";
export { version } from "./version.js";
