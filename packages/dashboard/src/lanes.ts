/** The last ten minutes of a lock, a lane for each owner: who had it, who waited, and how it ended. Pure. */
import type { LockInfo, ServiceEvent } from "./api.js";

/** The longest that can be shown: the server keeps no more. */
export const WINDOW_MS = 600_000;

export type HoldEnd = "released" | "expired" | "forced";

export interface Bar {
  readonly token: number;
  readonly fromMs: number;
  /** Null: it goes on. */
  readonly toMs: number | null;
  readonly end: HoldEnd | null;
  readonly reason: string;
  /** True when its beginning was not seen. */
  readonly isFromBefore: boolean;
}

export interface Wait {
  readonly ticket: number;
  readonly fromMs: number;
  readonly toMs: number | null;
  /** How it ended, when it was not granted. */
  readonly reason: string;
  readonly isFromBefore: boolean;
}

export interface Mark {
  readonly kind: "asked" | "deadlock";
  readonly atMs: number;
  readonly text: string;
}

export interface Lane {
  readonly owner: string;
  readonly bars: readonly Bar[];
  readonly waits: readonly Wait[];
  readonly marks: readonly Mark[];
}

interface Making {
  readonly owner: string;
  readonly bars: Map<number, Bar>;
  readonly waits: Map<number, Wait>;
  readonly marks: Mark[];
  lastMs: number;
}

/**
 * @param events of this lock, the oldest first
 * @param info as it was at `infoAtMs`, by the server's time of day like everything here
 */
export function lanesOf(
  name: string,
  events: readonly ServiceEvent[],
  info: LockInfo | null,
  infoAtMs: number,
  nowMs: number,
  windowMs: number = WINDOW_MS,
): readonly Lane[] {
  const lanes = new Map<string, Making>();
  const beginMs = nowMs - windowMs;
  const laneOf = (owner: string, atMs: number): Making => {
    const lane = lanes.get(owner) ?? { owner, bars: new Map(), waits: new Map(), marks: [], lastMs: 0 };
    lane.lastMs = Math.max(lane.lastMs, atMs);
    lanes.set(owner, lane);
    return lane;
  };
  for (const event of events) {
    if (!event.names.includes(name)) continue;
    const { type, owner, token, ticket, reason = "" } = event;
    const atMs = Date.parse(event.at);
    const lane = laneOf(owner, atMs);
    const endWait = (why: string) => {
      if (ticket === undefined) return;
      const wait = lane.waits.get(ticket) ?? {
        ticket,
        fromMs: beginMs,
        toMs: null,
        reason: "",
        isFromBefore: true,
      };
      lane.waits.set(ticket, { ...wait, toMs: atMs, reason: why });
    };
    switch (type) {
      case "queued":
        if (ticket !== undefined)
          lane.waits.set(ticket, { ticket, fromMs: atMs, toMs: null, reason: "", isFromBefore: false });
        break;
      case "left":
        endWait(reason);
        break;
      case "granted":
      case "restored":
        endWait("");
        if (token !== undefined)
          lane.bars.set(token, {
            token,
            fromMs: atMs,
            toMs: null,
            end: null,
            reason: "",
            isFromBefore: type === "restored",
          });
        break;
      case "released":
      case "expired":
      case "forced": {
        if (token === undefined) break;
        const bar = lane.bars.get(token) ?? {
          token,
          fromMs: beginMs,
          toMs: null,
          end: null,
          reason: "",
          isFromBefore: true,
        };
        lane.bars.set(token, { ...bar, toMs: atMs, end: type, reason });
        break;
      }
      case "asked":
      case "deadlock":
        lane.marks.push({ kind: type, atMs, text: reason });
        break;
      case "opened":
        break;
    }
  }
  addPresent(info, infoAtMs, nowMs, laneOf);
  return [...lanes.values()]
    .map((lane) => laneIn(lane, beginMs))
    .filter(({ bars, waits, marks }) => bars.length + waits.length + marks.length > 0)
    .sort((a, b) => rank(b) - rank(a));
}

/** What there is now and no event has told of: it began before anybody looked. */
function addPresent(
  info: LockInfo | null,
  infoAtMs: number,
  nowMs: number,
  laneOf: (owner: string, atMs: number) => Making,
): void {
  if (info === null) return;
  for (const { token, owner, heldForMs, state } of info.holders) {
    if (state === "closed") continue;
    const lane = laneOf(owner, nowMs);
    const known = lane.bars.get(token);
    if (known === undefined || (known.isFromBefore && known.toMs === null)) {
      lane.bars.set(token, {
        token,
        fromMs: infoAtMs - heldForMs,
        toMs: null,
        end: null,
        reason: "",
        isFromBefore: false,
      });
    }
  }
  for (const { ticket, owner, waitingForMs } of info.queue) {
    const lane = laneOf(owner, nowMs);
    if (!lane.waits.has(ticket)) {
      lane.waits.set(ticket, {
        ticket,
        fromMs: infoAtMs - waitingForMs,
        toMs: null,
        reason: "",
        isFromBefore: false,
      });
    }
  }
}

function laneIn({ owner, bars, waits, marks }: Making, beginMs: number): Lane {
  const isSeen = ({ toMs }: { readonly toMs: number | null }) => toMs === null || toMs > beginMs;
  return {
    owner,
    bars: [...bars.values()].filter(isSeen),
    waits: [...waits.values()].filter(isSeen),
    marks: marks.filter(({ atMs }) => atMs > beginMs),
  };
}

/** Who has it comes first, then who waits, the first in the queue before others; then who was there last. */
function rank({ bars, waits, marks }: Lane): number {
  if (bars.some(({ toMs }) => toMs === null)) return 3e15;
  const waiting = waits.find(({ toMs }) => toMs === null);
  if (waiting !== undefined) return 2e15 - waiting.ticket / 1e6;
  return Math.max(
    ...bars.map(({ toMs }) => toMs ?? 0),
    ...waits.map(({ toMs }) => toMs ?? 0),
    ...marks.map(({ atMs }) => atMs),
    0,
  );
}
