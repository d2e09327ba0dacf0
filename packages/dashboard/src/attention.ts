/** What an operator should look at first, and why. Pure. */
import type { AccountInfo, Contention, Delivery, HolderInfo, Stats } from "./api.js";
import { count, plural, span } from "./format.js";
import type { Lately } from "./history.js";
import type { IconName } from "./icons.js";
import type { Route } from "./route.js";

export interface Concern {
  readonly key: string;
  readonly tone: "bad" | "wait" | "plain";
  readonly icon: IconName;
  /** About whom, as somebody else has named it; null: about all. */
  readonly name: string | null;
  readonly text: string;
  readonly to: Route | null;
}

/** While others wait for it, a hold is long after so long; without any, after so long. */
const HELD_LONG_MS = 60_000;
const HELD_VERY_LONG_MS = 3_600_000;
const WAITS_LONG_MS = 30_000;
const QUEUE_LONG = 10;
const TRIAL_DAYS = 5;
const SHOWN_MAX = 8;

export interface Facts {
  readonly service: string;
  readonly stats: Stats | null;
  readonly contention: Contention | null;
  readonly lately: Lately | null;
  /** Null: the key may not see them. */
  readonly deliveries: readonly Delivery[] | null;
  readonly account: AccountInfo | null;
}

/** The worst first. */
export function concernsOf({
  service,
  stats,
  contention,
  lately,
  deliveries,
  account,
}: Facts): readonly Concern[] {
  const concerns: Concern[] = [];
  const events: Route = { screen: "events", service };
  if (stats?.recovering) {
    concerns.push({
      ...{ key: "recovering", tone: "bad", icon: "cycle", name: null, to: { screen: "sessions", service } },
      text: "Recovering: the server waits for clients from before its last start. Nothing new is granted until they are back, or their leases have run out.",
    });
  }
  const seen = new Set<string>();
  for (const crowd of contention === null ? [] : crowdsOf(contention)) {
    if (seen.has(crowd.name)) continue;
    seen.add(crowd.name);
    const concern = concernOf(crowd, service);
    if (concern !== null) concerns.push(concern);
  }
  concerns.sort((a, b) => RANK[a.tone] - RANK[b.tone]);
  if (concerns.length > SHOWN_MAX) concerns.length = SHOWN_MAX;
  if (lately !== null) {
    const during = `in the last ${span(Math.max(1_000, lately.forMs))}`;
    if (lately.expired > 0) {
      concerns.push({
        ...{ key: "expired", tone: "wait", icon: "clock", name: null, to: events },
        text: `${plural(lately.expired, "hold")} ran out ${during}: holders that died, hang, or lost the network.`,
      });
    }
    if (lately.deadlocks > 0) {
      concerns.push({
        ...{ key: "deadlocks", tone: "wait", icon: "cycle", name: null, to: events },
        text: `${plural(lately.deadlocks, "deadlock")} refused ${during}: programs take locks inside of each other.`,
      });
    }
    if (lately.forced > 0) {
      concerns.push({
        ...{ key: "forced", tone: "plain", icon: "force", name: null, to: events },
        text: `${plural(lately.forced, "hold")} freed by force ${during}.`,
      });
    }
  }
  const failing = (deliveries ?? []).filter(({ status, attempts }) => status === "failed" || attempts > 0);
  if (failing.length > 0) {
    const last = failing[0]!;
    concerns.push({
      ...{ key: "webhooks", tone: "wait", icon: "hook", name: last.url, to: null },
      text: `${plural(failing.length, "webhook call")} not delivered${last.lastError === null ? "" : `; the newest: ${last.lastError}`}.`,
    });
  }
  if (account?.daysLeft != null && account.daysLeft <= TRIAL_DAYS) {
    concerns.push({
      ...{
        key: "trial",
        tone: account.daysLeft === 0 ? "bad" : "wait",
        icon: "account",
        name: null,
        to: { screen: "account" },
      },
      text:
        account.daysLeft === 0
          ? "The trial has ended: new locks are refused."
          : `The trial ends in ${plural(account.daysLeft, "day")}: new locks are refused then.`,
    });
  }
  return concerns;
}

const RANK = { bad: 0, wait: 1, plain: 2 } as const;

interface Crowd {
  readonly name: string;
  readonly holder: HolderInfo | null;
  readonly queueLength: number;
  /** How long the first has waited, as far as is known. */
  readonly waitedMs: number;
}

function crowdsOf({ hottest, longestWaits, oldestHolds }: Contention): readonly Crowd[] {
  return [
    ...hottest.map(({ lock: { name, holders, queue, queueLength } }) => ({
      ...{ name, queueLength, holder: holders[0] ?? null, waitedMs: queue[0]?.waitingForMs ?? 0 },
    })),
    ...longestWaits.map(({ waiter, ...crowd }) => ({ ...crowd, waitedMs: waiter.waitingForMs })),
    ...oldestHolds.map((crowd) => ({ ...crowd, waitedMs: 0 })),
  ];
}

function concernOf({ name, holder, queueLength, waitedMs }: Crowd, service: string): Concern | null {
  const to: Route = { screen: "lock", service, name };
  const isClosed = holder?.state === "closed";
  if (queueLength > 0 && holder !== null && !isClosed && holder.heldForMs >= HELD_LONG_MS) {
    return {
      ...{ key: `lock ${name}`, tone: "bad", icon: "lock", name, to },
      text: `held for ${span(holder.heldForMs)} while ${waitersText(queueLength, waitedMs)}.`,
    };
  }
  if (queueLength >= QUEUE_LONG || waitedMs >= WAITS_LONG_MS) {
    return {
      ...{ key: `lock ${name}`, tone: "wait", icon: "people", name, to },
      text: `${waitersText(queueLength, waitedMs)}.`,
    };
  }
  if (holder !== null && !isClosed && !holder.leads && holder.heldForMs >= HELD_VERY_LONG_MS) {
    return {
      ...{ key: `lock ${name}`, tone: "plain", icon: "clock", name, to },
      text: `held for ${span(holder.heldForMs)}. Nobody waits for it.`,
    };
  }
  return null;
}

function waitersText(queueLength: number, waitedMs: number): string {
  if (waitedMs === 0) return queueLength === 1 ? "somebody waits" : `${count(queueLength)} wait`;
  if (queueLength === 1) return `somebody has waited for ${span(waitedMs)}`;
  return `${count(queueLength)} wait, the first for ${span(waitedMs)}`;
}
