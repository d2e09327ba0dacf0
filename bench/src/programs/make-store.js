/** A store with records of holds without a session, as the server writes them: by its engine, record format and store. */

import { Engine } from "../../../packages/server/dist/engine/index.js";
import { encodeRecord, openDiskStore } from "../../../packages/server/dist/store/index.js";
import { runJob } from "./job.js";
import { PLAIN_TERMS } from "./plain-terms.js";

const PREFIX = "default/service/bench/";
const A_BATCH = 50_000;
const YEAR_MS = 365 * 86_400_000;
const LIMITS = { waitersMax: 100_000, holdsMax: 4_000_000, sessionsMax: 100_000, writesSessionHolds: false };

runJob(async ({ folder, records }) => {
  const store = await openDiskStore(folder);
  const engine = new Engine(LIMITS);
  await store.commit([{ key: "default/clock", value: encodeRecord("default/clock", { nowMs: 1_000 }) }]);
  let written = 0;
  while (written < records) {
    const out = { answers: [], changes: /** @type {any[]} */ ([]) };
    for (const end = Math.min(records, written + A_BATCH); written < end; written += 1) {
      engine.apply(acquire(`job-${String(written).padStart(12, "0")}`, `a${written}`), 1_000, out);
      engine.apply({ kind: "delivered", address: `a${written}` }, 1_000, out);
    }
    await store.commit(
      out.changes.map(({ type, id, value }) => {
        const key = `${PREFIX}${type}/${id}`;
        return { key, value: value === null ? null : encodeRecord(key, value) };
      }),
    );
  }
  await store.close();
  return { written };
});

/**
 * As the original client's `lock` over HTTP.
 *
 * @param {string} name
 * @param {string} address
 * @returns {any}
 */
function acquire(name, address) {
  return {
    kind: "acquire",
    session: null,
    address,
    id: 1,
    names: name,
    waitMs: 0,
    ...PLAIN_TERMS,
    detachedMs: YEAR_MS,
    owner: "http",
  };
}
