import { keyOf, numberOf, placeOf, type Token } from "./fence.js";
import { StaleTokenError } from "./stale-token-error.js";

/**
 * A command and its words. The first word after it is its key: `["SET", key, value]`, `["HSET", key, field, value]`.
 * @example
 * const command: RedisCommand = ["SET", "account/7", 19];
 */
export type RedisCommand = readonly [command: string, key: string, ...words: (string | number)[]];

/**
 * Sends one command, word by word, and gives the answer: `(words) => redis.call(...words)` with ioredis,
 * `(words) => client.sendCommand(words)` with node-redis.
 * @example
 * const toRedis: RedisSend = (words) => send(words);
 */
export type RedisSend = (words: [string, ...string[]]) => PromiseLike<unknown>;

/**
 * The fence of one lock in a Redis server.
 * @example
 * const fence: RedisFence = redisFence("billing", "account/7");
 */
export interface RedisFence {
  /**
   * Compares, raises the fence and runs the commands, in one step. Without commands it raises the fence, which a new holder does
   * before it reads. When one of the commands fails, those before it have been done: Redis rolls nothing back.
   *
   * @param token of the lock, or the lease; the same may enter any number of times
   * @returns the answers to the commands
   * @throws StaleTokenError when a later holder was here: none of the commands was run
   * @example
   * await redisFence("billing", "account/7").enter(send, lease, ["SET", "account/7", "19"]);
   */
  enter(send: RedisSend, token: Token, ...commands: RedisCommand[]): Promise<unknown[]>;
  /**
   * What `EVAL` takes, for those who send it themselves; `check` then reads its answer.
   * @throws TypeError for what is no token
   * @example
   * const fence = redisFence("billing", "account/7");
   * const { script, keys, args } = fence.script(lease, ["SET", "account/7", "19"]);
   * fence.check(await send(["EVAL", script, String(keys.length), ...keys, ...args]), lease);
   */
  script(token: Token, ...commands: RedisCommand[]): { script: string; keys: string[]; args: string[] };
  /**
   * What the script was answered.
   * @returns the answers to the commands
   * @throws StaleTokenError when a later holder was here
   * @throws TypeError when it is no answer of the script
   * @example
   * const fence = redisFence("billing", "account/7");
   * const { script, keys, args } = fence.script(lease);
   * fence.check(await send(["EVAL", script, String(keys.length), ...keys, ...args]), lease);
   */
  check(answer: unknown, token: Token): unknown[];
}

/** Shown in docs/fencing.md. The fence is kept as the text that came: Lua would write a large number as 1e+14. */
const SCRIPT = `-- KEYS[1] the fence; ARGV[1] the token, then each command: how many words, and the words.
local seen = redis.call("GET", KEYS[1])
if seen then
  local highest = tonumber(seen)
  if not highest then return redis.error_reply("ERR no number in the fence " .. KEYS[1]) end
  if highest > tonumber(ARGV[1]) then return {0, seen} end
end
redis.call("SET", KEYS[1], ARGV[1])
local answers, at = {1, ARGV[1]}, 2
while ARGV[at] do
  local last = at + tonumber(ARGV[at])
  answers[#answers + 1] = redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return answers
`;

/**
 * The fence of one lock of one service, in a key of its own, which must not be evicted and has no expiry.
 *
 * @param service whose lock it is
 * @param lock its name
 * @param options `key`: where the fence is kept. Default `lockdb:fence:SERVICE/LOCK`. In a Redis cluster it needs the slot of the data: `{account/7}:fence`
 * @throws TypeError for what is no service or lock
 * @example
 * const fence = redisFence("billing", "account/7");
 * const [left] = await fence.enter(send, lease, ["GET", "account/7"]);
 * await fence.enter(send, lease, ["SET", "account/7", Number(left) - 1]); // throws StaleTokenError: not written
 */
export function redisFence(service: string, lock: string, options: { key?: string } = {}): RedisFence {
  const place = placeOf(service, lock);
  const key = options.key ?? `lockdb:fence:${keyOf(place)}`;
  const fence: RedisFence = {
    async enter(send, token, ...commands) {
      const { script, keys, args } = fence.script(token, ...commands);
      return fence.check(await send(["EVAL", script, String(keys.length), ...keys, ...args]), token);
    },
    script(token, ...commands) {
      const keys = new Set([key, ...commands.map((command) => command[1])]);
      const words = commands.flatMap((command) => [command.length, ...command]);
      return { script: SCRIPT, keys: [...keys], args: [numberOf(token), ...words].map(String) };
    },
    check(answer, token) {
      const [passed, seen, ...answers] = Array.isArray(answer) ? answer : [];
      if (Number(passed) === 1) return answers;
      if (passed === undefined || Number(passed) !== 0)
        throw new TypeError("Redis answered something else than the script of the fence does.");
      throw new StaleTokenError(`The lock "${lock}" of ${service}`, numberOf(token), Number(seen));
    },
  };
  return fence;
}
