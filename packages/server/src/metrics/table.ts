/**
 * Every metric of the server, in one place: `/metrics`, docs/metrics.md and the tests come from this table (I6). No label
 * grows with names, services, accounts or keys.
 */
import { ERRORS, type ErrorCode } from "lockdb/protocol";
import type { Histogram } from "../engine/index.js";
import type { Scrape } from "./sources.js";

interface Named {
  readonly name: `lockdb_${string}`;
  /** One sentence: what it is. */
  readonly help: string;
  readonly part: Part;
}

/** How the page of metrics is divided. */
export type Part =
  | "Locks"
  | "Access and callers"
  | "Store and services"
  | "Webhooks"
  | "The cluster"
  | "The process";

/** A single number. Null: it is not known here, and left out. */
interface PlainRow extends Named {
  readonly type: "counter" | "gauge";
  readonly label: null;
  readonly read: (from: Scrape) => number | null;
}

/** One number for each value of a label, of which there are only so many. Null: as above. */
interface LabelledRow extends Named {
  readonly type: "counter" | "gauge";
  readonly label: string;
  readonly read: (from: Scrape) => Readonly<Record<string, number>> | null;
}

interface HistogramRow extends Named {
  readonly type: "histogram";
  readonly label: null;
  /** How many of what is counted make one of what is shown: 1,000 for milliseconds shown as seconds. */
  readonly scale: number;
  /** Null: as above. */
  readonly read: (from: Scrape) => Histogram | null;
}

export type MetricRow = PlainRow | LabelledRow | HistogramRow;

const MS_A_SECOND = 1_000;

export const METRICS: readonly MetricRow[] = [
  // --- locks ---
  counter("lockdb_grants_total", "Locks", "Requests for locks that were granted.", engine("granted")),
  counter(
    "lockdb_queued_total",
    "Locks",
    "Requests for locks that had to queue: those that came back after a lost connection count again.",
    engine("queued"),
  ),
  histogram(
    "lockdb_acquire_wait_seconds",
    "Locks",
    "How long granted requests had stood in the queue, 0 for those that were granted at once; lease time.",
    ({ loop }) => loop.totals.engine.waitMs,
  ),
  histogram(
    "lockdb_hold_seconds",
    "Locks",
    "How long holds lasted, however they ended; lease time.",
    ({ loop }) => loop.totals.engine.heldMs,
  ),
  labelled(
    "lockdb_holds_ended_total",
    "Locks",
    "Holds that ended: released, expired, forced, taken_back (nobody could receive the grant) or displaced (by a claim after a crash).",
    "how",
    ({ loop }) => loop.totals.engine.ended,
  ),
  counter(
    "lockdb_holds_restored_total",
    "Locks",
    "Holds that were taken up from the store, or from a client that came back to a recovering service.",
    engine("restored"),
  ),
  labelled(
    "lockdb_refusals_total",
    "Locks",
    "Requests that were refused, by code of the error table, on every interface.",
    "code",
    ({ loop }) => ({ ...NO_REFUSALS, ...loop.totals.refused }),
  ),
  counter(
    "lockdb_slow_waits_total",
    "Locks",
    "Requests for locks that have waited longer than --slow-wait.",
    ({ loop }) => loop.totals.slowWaits,
  ),
  gauge(
    "lockdb_holds",
    "Locks",
    "Holds now, with those that keep a lock closed for a while.",
    census("holds"),
  ),
  gauge("lockdb_locks", "Locks", "Locks that are held or waited for now.", census("locks")),
  gauge("lockdb_waiters", "Locks", "Requests that wait for a lock now.", census("waiters")),
  gauge(
    "lockdb_nested_waiters",
    "Locks",
    "Requests among them that were made inside of a hold, and so can be part of a deadlock.",
    census("nested"),
  ),
  gauge("lockdb_sessions", "Locks", "Sessions now, connected or not.", census("sessions")),
  counter("lockdb_sessions_opened_total", "Locks", "Sessions that began.", engine("sessionsOpened")),
  counter(
    "lockdb_sessions_expired_total",
    "Locks",
    "Sessions that ended by silence, and not by their clients.",
    engine("sessionsExpired"),
  ),

  // --- access and callers ---
  gauge("lockdb_accounts", "Access and callers", "Accounts.", ({ access }) => access.counts.accounts),
  gauge(
    "lockdb_api_keys",
    "Access and callers",
    "API keys of all accounts.",
    ({ access }) => access.counts.keys,
  ),
  labelled(
    "lockdb_auth_failures_total",
    "Access and callers",
    "Requests and connections without an API key, or with one that is none or has ended.",
    "reason",
    ({ loop }) => loop.totals.authFailures,
  ),
  counter(
    "lockdb_rate_limited_total",
    "Access and callers",
    "Requests over a limit of requests in a time: an account's, or that of wrong keys from one address.",
    ({ loop }) => loop.totals.refused.RATE_LIMITED ?? 0,
  ),
  gauge(
    "lockdb_connections",
    "Access and callers",
    "Native connections that are open.",
    ({ loop }) => loop.totals.connectionsOpen,
  ),
  counter(
    "lockdb_connections_opened_total",
    "Access and callers",
    "Native connections that were opened.",
    ({ loop }) => loop.totals.connectionsOpened,
  ),
  labelled(
    "lockdb_http_answers_total",
    "Access and callers",
    "HTTP answers by the class of their status.",
    "status",
    ({ loop }) => ({ ...NO_ANSWERS, ...loop.totals.answered }),
  ),
  gauge(
    "lockdb_event_readers",
    "Access and callers",
    "Readers of events over HTTP.",
    ({ events }) => events.readerCount,
  ),
  counter(
    "lockdb_event_readers_cut_total",
    "Access and callers",
    "Readers of events over HTTP that were cut since they read too slowly.",
    ({ events }) => events.cutCount,
  ),
  gauge(
    "lockdb_event_backlog_bytes",
    "Access and callers",
    "Bytes that wait for readers of events over HTTP.",
    ({ events }) => events.backlog.bytes,
  ),
  gauge(
    "lockdb_tls_certificate_end_timestamp_seconds",
    "Access and callers",
    "When the TLS certificate in use ends, as Unix time; only where the server speaks TLS.",
    ({ tlsEndsAtMs }) => secondsOf(tlsEndsAtMs()),
  ),

  // --- store and services ---
  gauge(
    "lockdb_ready",
    "Store and services",
    "1 while requests are taken, also while recovering; 0 without a working store, and while it stops.",
    ({ loop }) => Number(loop.ready),
  ),
  gauge("lockdb_services", "Store and services", "Services in memory.", census("services")),
  gauge(
    "lockdb_services_recovering",
    "Store and services",
    "Services among them that wait for their clients after an unclean start.",
    census("recovering"),
  ),
  counter(
    "lockdb_service_failures_total",
    "Store and services",
    "Services that were read from the store anew, because of a mistake in LockDB.",
    ({ loop }) => loop.totals.serviceFailures,
  ),
  histogram(
    "lockdb_commit_seconds",
    "Store and services",
    "How long a batch took to become durable.",
    ({ loop }) => loop.totals.commitMs,
  ),
  histogram(
    "lockdb_commit_records",
    "Store and services",
    "Records a batch.",
    ({ loop }) => loop.totals.commitRecords,
    1,
  ),
  counter(
    "lockdb_store_failures_total",
    "Store and services",
    "Commits that failed, or whose outcome was not known.",
    ({ loop }) => loop.totals.storeFailures,
  ),
  gauge(
    "lockdb_lease_clock_seconds",
    "Store and services",
    "The clock that leases run on. It stands still while nothing does, and while this process stands still.",
    ({ loop }) => loop.leaseMs / MS_A_SECOND,
  ),

  // --- webhooks ---
  gauge(
    "lockdb_webhooks_pending",
    "Webhooks",
    "Deliveries that are still to be made.",
    ({ deliveries }) => deliveries.pending,
  ),
  counter(
    "lockdb_webhooks_delivered_total",
    "Webhooks",
    "Deliveries that were answered 2xx.",
    ({ webhooks }) => webhooks?.totals.delivered ?? 0,
  ),
  counter(
    "lockdb_webhook_attempts_failed_total",
    "Webhooks",
    "Attempts that failed and will be made again.",
    ({ webhooks }) => webhooks?.totals.attemptsFailed ?? 0,
  ),
  counter(
    "lockdb_webhooks_given_up_total",
    "Webhooks",
    "Deliveries that were given up: after a day, after a 410, or by hand.",
    ({ webhooks }) => webhooks?.totals.givenUp ?? 0,
  ),
  gauge(
    "lockdb_webhook_targets_paused",
    "Webhooks",
    "Targets that are left alone for a while, since they failed several times in a row.",
    ({ deliveries }) => deliveries.pausedTargets,
  ),

  // --- the cluster ---
  gauge(
    "lockdb_cluster_members",
    "The cluster",
    "Members that this one sees, with itself.",
    ({ seen }) => seen?.members.length ?? null,
  ),
  labelled(
    "lockdb_cluster_partitions",
    "The cluster",
    "Partitions by how they are served, as this member sees it: served, claiming, handing-over or unowned.",
    "state",
    ({ seen }) => seen && statesIn(seen),
    "gauge",
  ),
  gauge(
    "lockdb_cluster_partitions_served",
    "The cluster",
    "Partitions that this member serves.",
    ({ seen }) => seen && (seen.members.find(({ isSelf }) => isSelf)?.partitions ?? 0),
  ),
  counter(
    "lockdb_cluster_claims_total",
    "The cluster",
    "Partitions that this member has claimed, whose owners were gone.",
    cluster("claims"),
  ),
  counter(
    "lockdb_cluster_take_ups_total",
    "The cluster",
    "Partitions that this member has begun to serve.",
    cluster("takeUps"),
  ),
  counter(
    "lockdb_cluster_hand_overs_total",
    "The cluster",
    "Partitions that this member has given to others.",
    cluster("handOvers"),
  ),
  counter(
    "lockdb_cluster_fences_total",
    "The cluster",
    "Silent members that this one has put out of the cluster.",
    cluster("fences"),
  ),
  labelled(
    "lockdb_cluster_losses_total",
    "The cluster",
    "How often this member was out of its cluster: fenced by another one, silent since no beat came through, or failed, after a commit.",
    "reason",
    ({ cluster }) => cluster?.totals.lost ?? null,
  ),
  labelled(
    "lockdb_cluster_key_reads_total",
    "The cluster",
    "How often this member has read keys and accounts after a change, its own changes as their keeper too: what has changed, or the whole.",
    "how",
    ({ cluster }) => cluster?.totals.commonReads ?? null,
  ),
  gauge(
    "lockdb_cluster_beat_age_seconds",
    "The cluster",
    "How long ago the last beat was sent that came through.",
    ({ cluster }) => secondsOf(cluster?.beatAgeMs ?? null),
  ),
  histogram(
    "lockdb_cluster_beat_seconds",
    "The cluster",
    "How long beats took, those too that came to nothing.",
    ({ cluster }) => cluster?.totals.beatMs ?? null,
  ),
  labelled(
    "lockdb_etcd_members",
    "The cluster",
    "Members of etcd that work, and those that do not: up or down. They are asked for this.",
    "state",
    ({ etcdMembers }) => etcdMembers && { ...etcdMembers },
    "gauge",
  ),
  labelled(
    "lockdb_etcd_errors_total",
    "The cluster",
    "Requests to etcd that failed: unavailable, late, refused or other.",
    "reason",
    ({ cluster }) => cluster?.totals.etcdErrors ?? null,
  ),
  labelled(
    "lockdb_requests_passed_on_total",
    "The cluster",
    "Requests that were passed on to other members: answered, unsent (no connection), not_here (it was not the one), or failed.",
    "how",
    ({ cluster, loop }) => {
      const { "not here": not_here, ...passedOn } = loop.totals.passedOn;
      return cluster && { ...passedOn, not_here };
    },
  ),
  counter(
    "lockdb_clients_moved_total",
    "The cluster",
    "Native clients that were told which other member has their service.",
    ({ cluster, loop }) => cluster && loop.totals.clientsMoved,
  ),

  // --- the process ---
  labelled(
    "lockdb_build_info",
    "The process",
    "1, with the version of the server.",
    "version",
    ({ version }) => ({ [version]: 1 }),
    "gauge",
  ),
  gauge(
    "lockdb_process_start_time_seconds",
    "The process",
    "When the process began, as Unix time.",
    ({ process }) => process.startedAtS,
  ),
  labelled(
    "lockdb_process_cpu_seconds_total",
    "The process",
    "CPU time that the process has used.",
    "mode",
    ({ process }) => process.cpuS,
  ),
  gauge(
    "lockdb_process_resident_memory_bytes",
    "The process",
    "Memory of the process that is in RAM.",
    ({ process }) => process.memory.rss,
  ),
  gauge(
    "lockdb_process_heap_bytes",
    "The process",
    "JavaScript heap that is in use.",
    ({ process }) => process.memory.heapUsed,
  ),
  gauge(
    "lockdb_process_open_fds",
    "The process",
    "Files and sockets that are open; only on Linux.",
    ({ process }) => process.openFds,
  ),
  gauge(
    "lockdb_process_max_fds",
    "The process",
    "Files and sockets that may be open at most; only on Linux.",
    ({ process }) => process.maxFds,
  ),
  histogram(
    "lockdb_event_loop_lag_seconds",
    "The process",
    "How late the event loop came to a timer, looked at four times a second.",
    ({ process }) => process.lagMs,
  ),
  counter(
    "lockdb_event_loop_busy_seconds_total",
    "The process",
    "Time in which the event loop had something to do: one second a second is all that one process can do.",
    ({ process, loop }) => process.busyS - loop.totals.busyPollMs / 1_000,
  ),
  counter(
    "lockdb_busy_poll_seconds_total",
    "The process",
    "Time awake for nothing, to see at once what comes next (`--busy-poll`). It is part of the CPU time.",
    ({ loop }) => loop.totals.busyPollMs / 1_000,
  ),
];

/** So that a rate can be taken from the first one on. */
const NO_REFUSALS: Readonly<Record<string, number>> = Object.fromEntries(
  (Object.keys(ERRORS) as ErrorCode[])
    .filter((code) => ERRORS[code].status !== null)
    .map((code) => [code, 0]),
);
const NO_ANSWERS = { "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0 };

function counter(name: Named["name"], part: Part, help: string, read: PlainRow["read"]): PlainRow {
  return { name, type: "counter", label: null, help, part, read };
}

function gauge(name: Named["name"], part: Part, help: string, read: PlainRow["read"]): PlainRow {
  return { name, type: "gauge", label: null, help, part, read };
}

function labelled(
  name: Named["name"],
  part: Part,
  help: string,
  label: string,
  read: LabelledRow["read"],
  type: LabelledRow["type"] = "counter",
): LabelledRow {
  return { name, type, label, help, part, read };
}

function histogram(
  name: Named["name"],
  part: Part,
  help: string,
  read: HistogramRow["read"],
  scale = MS_A_SECOND,
): HistogramRow {
  return { name, type: "histogram", label: null, help, part, scale, read };
}

function engine(field: "granted" | "queued" | "restored" | "sessionsOpened" | "sessionsExpired") {
  return ({ loop }: Scrape) => loop.totals.engine[field];
}

function cluster(field: "claims" | "takeUps" | "handOvers" | "fences") {
  return ({ cluster }: Scrape) => cluster?.totals[field] ?? null;
}

/** All of them, also those that are 0. */
function statesIn({ partitions }: NonNullable<Scrape["seen"]>): Readonly<Record<string, number>> {
  const states = { served: 0, claiming: 0, "handing-over": 0, unowned: 0 };
  for (const { state } of partitions) states[state]++;
  return states;
}

function census(field: keyof Scrape["census"]) {
  return (from: Scrape) => from.census[field];
}

function secondsOf(ms: number | null): number | null {
  return ms === null ? null : ms / MS_A_SECOND;
}
