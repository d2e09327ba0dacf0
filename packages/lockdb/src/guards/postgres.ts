import { numberOf, type Place, placeOf, type Token } from "./fence.js";
import { StaleTokenError } from "./stale-token-error.js";

const TABLE = "lockdb_fences";
const IDENTIFIER = /^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$/;

/**
 * Makes the table of fences where there is none; run it with your migrations.
 * @example
 * await client.query(POSTGRES_MIGRATION);
 */
export const POSTGRES_MIGRATION: string = postgresMigration();

/**
 * A statement with `$1`, `$2`, and what to put there. `pg` takes it as it is.
 * @example
 * const { text, values }: PostgresStatement = postgresFence("billing", "account/7").statement(lease);
 */
export interface PostgresStatement {
  /** The statement. */
  readonly text: string;
  /** What `$1`, `$2` and `$3` stand for. */
  readonly values: [service: string, lock: string, token: number];
}

/**
 * One connection: that of the transaction. `pg` and PGlite have it as it is; for others it is a line, such as
 * `{ query: (text, values) => sql.unsafe(text, values) }` for postgres.js.
 * @example
 * const rows: PostgresClient = { query: (text, values) => client.query(text, values) };
 */
export interface PostgresClient {
  /** Resolves to the rows, or to what has them as `rows`. */
  query(text: string, values: (string | number)[]): PromiseLike<unknown>;
}

/**
 * The fence of one lock in a PostgreSQL database.
 * @example
 * const fence: PostgresFence = postgresFence("billing", "account/7");
 */
export interface PostgresFence {
  /**
   * The first thing in a transaction, before any read. Later holders wait until its end, and earlier ones are refused: nothing that
   * follows needs a condition of its own.
   *
   * @param client the connection of the transaction, after its `BEGIN`
   * @param token of the lock, or the lease; the same may enter any number of times
   * @throws StaleTokenError when a later holder was here: roll back and give up
   * @throws Error outside of a transaction, with a pool say; and whatever the client throws
   * @example
   * await client.query("BEGIN");
   * await postgresFence("billing", "account/7").enter(client, lease);
   */
  enter(client: PostgresClient, token: Token): Promise<void>;
  /**
   * The statement that compares and raises, for those who send it themselves, in a transaction; `check` then reads its answer.
   * @throws TypeError for what is no token
   * @example
   * const fence = postgresFence("billing", "account/7");
   * const { text, values } = fence.statement(lease);
   * fence.check(await client.query(text, values), lease);
   */
  statement(token: Token): PostgresStatement;
  /**
   * What the statement was answered: the rows, or what has them as `rows`.
   * @throws StaleTokenError when there is no row
   * @example
   * const fence = postgresFence("billing", "account/7");
   * const { text, values } = fence.statement(lease);
   * fence.check(await client.query(text, values), lease);
   */
  check(answer: unknown, token: Token): void;
}

/**
 * The fence of one lock of one service, in the table that `POSTGRES_MIGRATION` makes.
 *
 * @param service whose lock it is
 * @param lock its name
 * @param options `table`: another name, `schema.table` say, in lower case. Default `lockdb_fences`
 * @throws TypeError for what is no service, lock or table
 * @example
 * await transaction(async (client) => {
 *   await postgresFence("billing", "account/7").enter(client, lease); // throws StaleTokenError: rolled back
 *   await client.query("UPDATE accounts SET …");
 * });
 */
export function postgresFence(
  service: string,
  lock: string,
  options: { table?: string } = {},
): PostgresFence {
  const place = placeOf(service, lock);
  const table = identifier(options.table);
  const text = enterText(table);
  const fence: PostgresFence = {
    async enter(client, token) {
      const { values } = fence.statement(token);
      await needTransaction(client, table);
      fence.check(await client.query(text, values), token);
    },
    statement: (token) => ({ text, values: [service, lock, numberOf(token)] }),
    check: (answer, token) => {
      if (rowCount(answer) === 0) throw new StaleTokenError(labelOf(place), numberOf(token));
    },
  };
  return fence;
}

/**
 * What makes a table of fences of another name.
 *
 * @param table `schema.table`, say, in lower case. Default `lockdb_fences`
 * @throws TypeError for what is no name of a table
 * @example
 * await client.query(postgresMigration("billing.fences"));
 */
export function postgresMigration(table?: string): string {
  return `CREATE TABLE IF NOT EXISTS ${identifier(table)} (
  service text NOT NULL,
  name text NOT NULL, -- the lock's name
  token bigint NOT NULL, -- the highest token that anything under this lock has seen
  PRIMARY KEY (service, name)
);
`;
}

/** One statement: the row is locked, and the condition evaluated on its newest committed version. */
function enterText(table: string): string {
  return `-- $1 service, $2 lock name, $3 token. First in the transaction. No row: refused, roll back.
INSERT INTO ${table} AS fence (service, name, token) VALUES ($1, $2, $3)
ON CONFLICT (service, name) DO UPDATE SET token = excluded.token
WHERE fence.token <= excluded.token
RETURNING token;
`;
}

/**
 * Outside of a transaction the raised fence is committed by itself, and guards nothing that follows, without a sign. This takes
 * the lock that every read takes, and is refused there.
 */
async function needTransaction(client: PostgresClient, table: string): Promise<void> {
  try {
    await client.query(`LOCK TABLE ${table} IN ACCESS SHARE MODE`, []);
  } catch (error) {
    if ((error as { code?: unknown } | null)?.code !== "25P01") throw error;
    throw new Error(
      "A fence is entered inside of a transaction: BEGIN first, on this connection. A pool is none.",
      {
        cause: error,
      },
    );
  }
}

/** Rows are counted, and not `rowCount`: they are what all clients have. */
function rowCount(answer: unknown): number {
  const rows = Array.isArray(answer) ? answer : (answer as { rows?: unknown } | null)?.rows;
  if (!Array.isArray(rows))
    throw new TypeError("The client gave no rows, so nobody knows whether the token is good.");
  return rows.length;
}

function identifier(table = TABLE): string {
  if (IDENTIFIER.test(table)) return table;
  throw new TypeError("A table is named in lower case, such as lockdb_fences or billing.fences.");
}

function labelOf({ service, lock }: Place): string {
  return `The lock "${lock}" of ${service}`;
}
