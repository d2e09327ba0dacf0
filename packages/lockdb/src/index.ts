export { contextHeader, withContext } from "./client/context.js";
export {
  ConnectionError,
  DeadlockError,
  type ErrorDetails,
  LockDBError,
  LockLostError,
  LockTimeoutError,
  UnauthorizedError,
} from "./client/errors.js";
// `require('lockdb')` gives the class itself, as `import LockDB from 'lockdb'` does.
export { LockDB, LockDB as "module.exports", LockDB as default } from "./client/lockdb.js";
export type * from "./client/types.js";
export type {
  Lock,
  LockManager,
  LockManagerSnapshot,
  WebLockInfo,
  WebLockOptions,
} from "./client/web-locks.js";
export type { ErrorCode } from "./protocol/index.js";
