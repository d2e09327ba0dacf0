import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { ACCOUNT_DEFAULT } from "../../access/account.js";
import { version } from "../../backup/version.js";
import type { Need, OutsideRecord } from "../../loop/index.js";
import { backupChunks, type Entry } from "../../store/index.js";
import { whoOf } from "../caller.js";
import { Refusal } from "../errors.js";
import type { Asked, Operation } from "../operation.js";

const TO_BACK_UP: Need = { scopes: ["admin"], isOverall: true, isAct: true };

/** How long a caller may read nothing. Meanwhile the store cannot use again what was freed since the backup began. */
const STALLED_MS = 30_000;

/**
 * A backup of the whole store, while the server runs.
 * @param records of all members of the cluster; null: what the store has is all
 */
export function backupOperations(records: () => AsyncIterable<Entry> | null): readonly Operation[] {
  let isRunning = false;
  return [
    {
      id: "backUp",
      method: "GET",
      path: "/v1/backup",
      tag: "Operating",
      need: TO_BACK_UP,
      summary: "Back up the store",
      description: `All durable records of all accounts, as of one moment: everything that was acknowledged before the request is in it. The server goes on
meanwhile. Only a key of the account \`default\` that is for all services may ask, and one backup is made at a time.

**It holds secrets**: those that sign webhooks, in clear, and hashes of API keys. A backup that was cut off has no end, and is refused when it is
read: \`lockdb store backup\` looks at all of it before it says that there is one. Whoever reads nothing for 30 s is cut off. The act is in the audit log.

Any member of a cluster makes one of all that the cluster has.`,
      answers: {
        200: { description: "The backup, for `lockdb store restore`.", type: "application/octet-stream" },
      },
      errors: ["LIMIT_EXCEEDED"],
      handle: async (asked) => {
        const { loop, caller } = asked;
        if (caller.account !== ACCOUNT_DEFAULT)
          throw new Refusal("FORBIDDEN", 'Only keys of the account "default" may back up the store.');
        if (isRunning)
          throw new Refusal("LIMIT_EXCEEDED", "A backup is being made. Try again when it is done.");
        isRunning = true;
        try {
          const act = { account: caller.account, who: whoOf(asked), what: "backup made" };
          await loop.keep([], act).catch(() => {
            throw new Refusal("UNAVAILABLE");
          });
          await send(asked, records() ?? stored(loop.records("")));
          return undefined;
        } finally {
          isRunning = false;
        }
      },
    },
  ];
}

async function send({ loop, reply, request, caller }: Asked, records: AsyncIterable<Entry>): Promise<void> {
  const { raw: response } = reply.hijack();
  const unwatch = caller.watch(() => {
    if (caller.refusal(TO_BACK_UP, null) !== null) response.destroy();
  });
  let timer: NodeJS.Timeout | undefined;
  const isOver = new AbortController();
  response.once("close", () => isOver.abort());
  try {
    response.writeHead(200, { "content-type": "application/octet-stream", "transfer-encoding": "chunked" });
    const header = {
      at: new Date(loop.runtime.wallMs()).toISOString(),
      lockdb: version(),
      from: "running",
    } as const;
    for await (const chunk of backupChunks(header, records)) {
      if (response.destroyed) return;
      response.write(chunk);
      // Everybody else first: for a reader that is quick there is no other pause.
      await setImmediate();
      if (!response.writableNeedDrain) continue;
      timer = setTimeout(() => response.destroy(), STALLED_MS);
      await once(response, "drain", { signal: isOver.signal });
      clearTimeout(timer);
    }
    response.end();
  } catch (error) {
    // Without its end nobody takes it for a backup.
    if (!isOver.signal.aborted) request.log.error({ err: error }, "a backup came to nothing");
    response.destroy();
  } finally {
    clearTimeout(timer);
    unwatch();
  }
}

/** As they are stored: each was looked at on its way. */
async function* stored(
  records: AsyncIterable<OutsideRecord & { readonly bytes: Uint8Array }>,
): AsyncGenerator<Entry> {
  for await (const { key, bytes } of records) yield { key, value: bytes };
}
