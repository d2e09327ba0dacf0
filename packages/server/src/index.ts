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
export {
  CONFIG_OPTION,
  configObject,
  configText,
  exampleConfig,
  OPTIONS,
  type OptionRow,
  type OptionSource,
  optionsPage,
  type ReadOptions,
  readOptions,
  type ServeOptions,
} from "./options/index.js";
export { type Server, serve } from "./serve.js";
export { StoreInUseError } from "./store/index.js";
export { type WayToEtcd, wayToEtcdFrom } from "./way-to-etcd.js";
