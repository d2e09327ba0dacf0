export {
  checkBackup,
  copyStore,
  inspectStore,
  type Restored,
  type RestoreOptions,
  restoreBackup,
  type StoreSummary,
  writeBackup,
} from "./backup/index.js";
export { OPTIONS, type OptionRow, readOptions, type ServeOptions } from "./options.js";
export { type Server, serve } from "./serve.js";
export { StoreInUseError } from "./store/index.js";
