import type { ClusterStatus, MemberStatus } from "lockdb/protocol";
import { useEffect } from "preact/hooks";
import { ApiError, addressOf, SERVER_URL } from "../api.js";
import { count, span } from "../format.js";
import { usePoll } from "../hooks.js";
import { api, self } from "../state.js";
import { Badge, Card, Foreign, Head, Loading, Problem } from "../ui.js";

const POLL_MS = 5_000;

/** A member beats twice a second, and is fenced after five. */
const SILENT_MS = 2_000;

interface Seen {
  /** Null: this server is alone. */
  readonly cluster: ClusterStatus | null;
  /** Null: the key may not see them. */
  readonly metrics: ReadonlyMap<string, number> | null;
  readonly version: string;
}

export function Cluster() {
  const { value, problem } = usePoll(look, POLL_MS, "cluster");
  useEffect(() => {
    document.title = "Server · LockDB";
  }, []);
  const seen = value.value;
  if (seen === null) return problem.value === "" ? <Loading /> : <Problem text={problem.value} />;
  const { cluster, metrics, version } = seen;
  return (
    <>
      <Head
        title="Server"
        beside={
          cluster === null ? (
            <Badge>a single server</Badge>
          ) : (
            <Badge tone="good">{count(cluster.members.length)} members</Badge>
          )
        }
      />
      <Problem text={problem.value} />
      {cluster === null ? (
        <Card title="Who owns what">
          <p>
            This server is alone, and owns every service. It is at <code>{SERVER_URL}</code>.
          </p>
        </Card>
      ) : (
        <Members cluster={cluster} />
      )}
      {metrics === null ? (
        <p class="dim">Numbers of the server itself are for keys of its operator.</p>
      ) : (
        <Card title="This process" beside={version === "" ? null : <span class="dim">{version}</span>}>
          <dl class="facts wide-facts">
            {factsOf(metrics).map(([name, text]) => (
              <>
                <dt key={name}>{name}</dt>
                <dd class="number-text">{text}</dd>
              </>
            ))}
          </dl>
          <p class="dim">
            All of them, for Prometheus: <code>{addressOf("/metrics")}</code>
          </p>
        </Card>
      )}
    </>
  );
}

function Members({ cluster }: { readonly cluster: ClusterStatus }) {
  const unserved = cluster.partitions.filter(({ state }) => state !== "served").length;
  return (
    <>
      <Card
        title="Who owns what"
        beside={unserved === 0 ? null : <Badge tone="wait">{count(unserved)} partitions on their way</Badge>}
      >
        <table class="data">
          <thead>
            <tr>
              <th scope="col">Member</th>
              <th scope="col">State</th>
              <th scope="col" class="number">
                Partitions
              </th>
            </tr>
          </thead>
          <tbody>
            {cluster.members.map((member) => {
              const state = stateOf(member);
              return (
                <tr key={member.id}>
                  <th scope="row">
                    <Foreign text={member.url} /> {member.isSelf ? <Badge tone="held">this one</Badge> : null}
                  </th>
                  <td>
                    <Badge tone={state === "ready" ? "good" : "wait"}>{state}</Badge>
                  </td>
                  <td class="number">{count(member.partitions)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Card>
      <Card title="etcd">
        <table class="data">
          <thead>
            <tr>
              <th scope="col">Member</th>
              <th scope="col">State</th>
              <th scope="col">Version</th>
            </tr>
          </thead>
          <tbody>
            {cluster.etcd.map(({ endpoint, healthy, isLeader, version, error }) => (
              <tr key={endpoint}>
                <th scope="row">
                  <Foreign text={endpoint} /> {isLeader ? <Badge tone="held">leader</Badge> : null}
                </th>
                <td>
                  <Badge tone={healthy ? "good" : "wait"}>{healthy ? "healthy" : (error ?? "down")}</Badge>
                </td>
                <td>{version ?? "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Card>
    </>
  );
}

function stateOf({ isReady, isLeaving, lastSeenMs }: MemberStatus): string {
  if (lastSeenMs > SILENT_MS) return `silent for ${span(lastSeenMs)}`;
  if (isLeaving) return "leaving";
  return isReady ? "ready" : "starting";
}

async function look(signal: AbortSignal): Promise<Seen> {
  const answer = await api.value!.get<ClusterStatus>("/v1/cluster", {}, signal).catch((error: unknown) => {
    // It is for operators.
    if (error instanceof ApiError && error.status === 403) return null;
    throw error;
  });
  const cluster = answer?.cluster == null ? null : answer;
  const { account, key } = self.value!;
  if (account.id !== "default" || key.services !== null || !key.scopes.includes("read"))
    return { cluster, metrics: null, version: "" };
  const response = await fetch(addressOf("/metrics"), { headers: api.value!.headers, signal });
  if (!response.ok) return { cluster, metrics: null, version: "" };
  const text = await response.text();
  const metrics = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^(lockdb_\w+) (\S+)$/.exec(line);
    if (match !== null) metrics.set(match[1]!, Number(match[2]));
  }
  return { cluster, metrics, version: /^lockdb_build_info\{version="([^"]*)"\}/m.exec(text)?.[1] ?? "" };
}

function factsOf(metrics: ReadonlyMap<string, number>): readonly (readonly [string, string])[] {
  const of = (name: string) => metrics.get(name) ?? 0;
  const mb = (name: string) => `${count(Math.round(of(name) / 1_048_576))} MiB`;
  return [
    ["Up for", span(Math.max(0, Date.now() - of("lockdb_process_start_time_seconds") * 1_000))],
    ["Services", count(of("lockdb_services"))],
    ["Recovering", count(of("lockdb_services_recovering"))],
    ["Connections", count(of("lockdb_connections"))],
    ["Readers of events", count(of("lockdb_event_readers"))],
    ["Memory", mb("lockdb_process_resident_memory_bytes")],
    [
      "Event loop late, mean",
      span(
        (of("lockdb_event_loop_lag_seconds_sum") * 1_000) /
          Math.max(1, of("lockdb_event_loop_lag_seconds_count")),
      ),
    ],
    [
      "Flush, mean",
      span((of("lockdb_commit_seconds_sum") * 1_000) / Math.max(1, of("lockdb_commit_seconds_count"))),
    ],
    ["Store failures", count(of("lockdb_store_failures_total"))],
    ["Webhook calls pending", count(of("lockdb_webhooks_pending"))],
  ];
}
