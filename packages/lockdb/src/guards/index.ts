export type { Token } from "./fence.js";
export { type FenceStore, type HeadersIn, type HttpFence, httpFence, memoryFences } from "./http.js";
export {
  POSTGRES_MIGRATION,
  type PostgresClient,
  type PostgresFence,
  type PostgresStatement,
  postgresFence,
  postgresMigration,
} from "./postgres.js";
export { type RedisCommand, type RedisFence, type RedisSend, redisFence } from "./redis.js";
export { StaleTokenError, TokenHeaderError } from "./stale-token-error.js";
