import type {
  AnswerRecord,
  CeilingRecord,
  DurableChange,
  Effects,
  HoldRecord,
  SessionRecord,
} from "./commands.js";
import { holdRecord, type LockTable } from "./lock-table.js";
import type { Sessions } from "./sessions.js";
import { Hold } from "./state.js";

/** A record as it comes from the store. */
export interface DurableRecord {
  readonly type: string;
  readonly id: string;
  readonly value: unknown;
}

/** Takes up what an earlier process made durable. After a crash the sessions on the list are waited for (R4). */
export function restore(
  records: readonly DurableRecord[],
  sessions: Sessions,
  table: LockTable,
  nowMs: number,
  out: Effects,
): void {
  const clean = records.some((record) => record.type === "stopped");
  // Holds refer to sessions, whatever the order of the records.
  for (const { type, id, value } of records) {
    if (type === "ceiling") {
      const { tokens, tickets } = value as CeilingRecord;
      table.startAbove(tokens, tickets);
    } else if (type === "session") {
      sessions.restore(id, value as SessionRecord, clean, nowMs, out);
    } else if (type === "answer") {
      const { message, about, untilMs } = value as AnswerRecord;
      table.restoreAnswer(id, message, about, untilMs);
    }
  }
  for (const { type, id, value } of records) {
    if (type === "hold") restoreHold(Number(id), value as HoldRecord, clean, sessions, table, out);
  }
  // An old list of holds must never be read twice: by the next start they may have been given on (R5).
  if (clean) out.changes.push({ type: "stopped", id: "", value: null });
  table.granting = !sessions.recovering;
}

/** What a clean stop writes: the session holds, and exactly where the numbers are (R5). */
export function stopRecords(table: LockTable): readonly DurableChange[] {
  const changes: DurableChange[] = [
    { type: "stopped", id: "", value: { clean: true } },
    { type: "ceiling", id: "", value: table.ceilings },
  ];
  for (const hold of table.holds.values()) {
    if (hold.session === null) continue;
    const { minUntilMs, maxUntilMs } = hold;
    const value: HoldRecord = { ...holdRecord(hold, 0), session: hold.session.id, minUntilMs, maxUntilMs };
    changes.push({ type: "hold", id: String(hold.token), value });
  }
  return changes;
}

function restoreHold(
  token: number,
  record: HoldRecord,
  clean: boolean,
  sessions: Sessions,
  table: LockTable,
  out: Effects,
): void {
  const session = record.session === undefined ? null : sessions.get(record.session);
  if (record.session !== undefined) out.changes.push({ type: "hold", id: String(token), value: null });
  if (session === undefined || (session !== null && !clean)) return;
  const lock = table.lockNamed(record.name);
  const hold = new Hold(token, lock, session, record.owner, record.metadata, record.grantedAtMs);
  hold.minUntilMs = record.minUntilMs ?? 0;
  hold.maxUntilMs = record.maxUntilMs ?? null;
  hold.remainder = record.remainder;
  hold.durable = session === null;
  hold.request = record.request;
  table.insert(hold);
  if (hold.request !== null) table.requests.set(hold.request, hold);
  if (hold.durable) table.deadlines.set(hold, record.expiresAtMs);
  else if (hold.maxUntilMs !== null) table.deadlines.set(hold, hold.maxUntilMs);
}
