import type { Metadata, ServiceSettings } from "lockdb/protocol";
import type {
  AnswerRecord,
  CeilingRecord,
  DurableChange,
  Effects,
  HoldRecord,
  PreviousRecord,
  RevokedRecord,
  SessionRecord,
} from "./commands.js";
import type { Grants } from "./grants.js";
import type { LockTable } from "./lock-table.js";
import { type DurableRecord, type ManyRecords, PackedHolds } from "./packed-holds.js";
import type { Sessions } from "./sessions.js";
import { COSTS, type Slices } from "./slices.js";
import { Hold, type Session } from "./state.js";

/** What is saved below is not worth the tables and the blocks: a thousand holds are made in some milliseconds. */
export const PACKED_MIN = 1_000;

export interface Restored {
  readonly records: readonly DurableRecord[];
  /** More of them, all holds: taken one at a time, when all else is there. */
  readonly holds: ManyRecords | null;
  readonly packedMin: number;
  readonly writesSessionHolds: boolean;
  readonly slices: Slices;
}

/**
 * Takes up what an earlier process made durable, a slice with each step. After a crash the sessions on the list are waited for (R4).
 */
export function* restoring(
  { records, holds, packedMin, writesSessionHolds, slices }: Restored,
  sessions: Sessions,
  grants: Grants,
  nowMs: number,
  out: Effects,
): Generator<void, void> {
  const { table } = grants;
  const byType = new Map<string, DurableRecord[]>();
  for (const record of records) {
    const ofType = byType.get(record.type);
    if (ofType === undefined) byType.set(record.type, [record]);
    else ofType.push(record);
    if (slices.isFull(COSTS.packed)) yield;
  }
  const all = <T>(type: string) => (byType.get(type) ?? []) as readonly (DurableRecord & { value: T })[];
  const clean = all("stopped").length > 0;
  for (const { value } of all<ServiceSettings>("settings")) grants.settings = value;
  for (const { value } of all<CeilingRecord>("ceiling")) table.startAbove(value.tokens, value.tickets);
  for (const { id, value } of all<SessionRecord>("session")) {
    sessions.restore(id, value, clean, nowMs, out);
    if (slices.isFull(COSTS.made)) yield;
  }
  for (const { value } of all<RevokedRecord>("revoked")) {
    sessions.restoreRevoked(ownerOf(`revoked/${value.token}`, value.session, sessions), value.token);
    if (slices.isFull(COSTS.made)) yield;
  }
  for (const { id, value } of all<AnswerRecord>("answer")) {
    table.restoreAnswer(id, value.message, value.about, value.untilMs);
    if (slices.isFull(COSTS.made)) yield;
  }
  const previous = [...all<PreviousRecord>("previous")].sort((a, b) => a.value.token - b.value.token);
  for (const { id, value } of previous) {
    grants.previous.restore(id, value);
    if (slices.isFull(COSTS.made)) yield;
  }
  const takeHold = (id: string, value: HoldRecord) => {
    // A clean stop's list of session holds must never be read twice: by the next start they may have been given on
    // (R5). What is written at each change stays.
    const session = value.session === undefined ? null : ownerOf(`hold/${id}`, value.session, sessions);
    const isList = session !== null && !session.isHttp && clean && !writesSessionHolds;
    if (isList) out.changes.push({ type: "hold", id, value: null });
    restoreHold(Number(id), value, session, !isList, table);
    if (!value.remainder) table.totals.restored++;
  };
  for (const { id, value } of all<HoldRecord>("hold")) {
    takeHold(id, value);
    if (slices.isFull(COSTS.made)) yield;
  }
  if (holds !== null) yield* restoringMany(holds, packedMin, takeHold, table, slices);
  if (clean) out.changes.push({ type: "stopped", id: "", value: null });
  table.granting = !sessions.recovering;
}

/** Those of holds that nobody is likely to touch soon stay as they are, if they are many (decision 026). */
function* restoringMany(
  records: ManyRecords,
  packedMin: number,
  takeHold: (id: string, record: HoldRecord) => void,
  table: LockTable,
  slices: Slices,
): Generator<void, void> {
  const make = ({ id, value }: DurableRecord) => {
    table.detachedCount--;
    if (table.holds.packed?.size === 0) table.holds.packed = null;
    return restoreHold(Number(id), value as HoldRecord, null, true, table);
  };
  const packed = records.size < packedMin ? null : new PackedHolds(records, make);
  for (let index = 0; index < records.size; index++) {
    records.check(index);
    if (packed?.pack(index)) {
      table.detachedCount++;
      table.totals.restored++;
      if (slices.isFull(COSTS.packed)) yield;
      continue;
    }
    const { id, value } = records.at(index);
    takeHold(id, value as HoldRecord);
    records.letGo(index);
    if (slices.isFull(COSTS.made)) yield;
  }
  if (packed === null) return;
  yield* packed.sealing(slices);
  // Where somebody else has a lock too, both are to be seen.
  for (let lock = table.locks.oldest; lock !== null; lock = lock.newer) {
    packed.unpackByName(lock.name);
    if (slices.isFull(COSTS.packed)) yield;
  }
  yield* packed.unpackingFew(slices);
  // Not before: whoever unpacks the last must know that no more come.
  if (packed.size > 0) table.holds.packed = packed;
}

/** What a clean stop writes: the session holds, the exact ends of leases, and exactly where the numbers are (R5). Null: more than `max`. */
export function* stopRecords(
  table: LockTable,
  max: number,
  slices: Slices,
): Generator<void, DurableChange[] | null, undefined> {
  const changes: DurableChange[] = [
    { type: "stopped", id: "", value: { clean: true } },
    { type: "ceiling", id: "", value: table.ceilings },
  ];
  // Of those that are packed nothing has changed.
  for (const hold of table.holds.values()) {
    if (slices.isFull(COSTS.packed)) yield;
    if (hold.session === null && hold.writtenUntilMs > hold.dueMs) hold.writtenUntilMs = hold.dueMs;
    else if (hold.session === null || hold.durable) continue;
    if (changes.length >= max) return null;
    changes.push(table.changeOf(hold));
  }
  return changes;
}

/** What belongs to a session ends with it, in one batch: there is nothing without its session. */
function ownerOf(record: string, id: string, sessions: Sessions): Session {
  const session = sessions.get(id);
  if (session === undefined)
    throw new Error(`The stored record ${record} belongs to the session ${id}, which is not stored.`);
  return session;
}

function restoreHold(
  token: number,
  record: HoldRecord,
  session: Session | null,
  durable: boolean,
  table: LockTable,
): Hold {
  const { owner, request } = record;
  const at = request?.lastIndexOf("/") ?? -1;
  const from = { owner, client: request?.slice(0, at) ?? null, id: Number(request?.slice(at + 1) ?? 0) };
  const hold = new Hold(
    token,
    table.locksFor(record.names, true),
    session,
    from,
    { metadata: isEmpty(record.metadata) ? NO_METADATA : record.metadata, leads: record.leads === true },
    record.grantedAtMs,
  );
  hold.minUntilMs = record.minUntilMs ?? 0;
  hold.maxUntilMs = record.maxUntilMs ?? null;
  hold.remainder = record.remainder;
  hold.endedBy = record.endedBy ?? null;
  hold.durable = durable;
  if (record.webhookUrl !== undefined) table.webhooks.set(hold, record.webhookUrl);
  hold.leaseMs = record.leaseMs ?? null;
  table.insert(hold);
  table.findByRequest(hold, null);
  const endsAtMs = record.expiresAtMs ?? hold.maxUntilMs;
  if (endsAtMs !== null) table.deadlines.set(hold, endsAtMs);
  hold.writtenUntilMs = record.expiresAtMs ?? hold.dueMs;
  return hold;
}

/** Of almost all holds, of which there may be a million. */
const NO_METADATA: Metadata = Object.freeze({});

function isEmpty(metadata: Metadata): boolean {
  for (const _ in metadata) return false;
  return true;
}
