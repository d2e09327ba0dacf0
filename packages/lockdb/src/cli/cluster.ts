import type { Command } from "commander";
import { withApi } from "./access-args.js";
import { type ClusterInfo, clusterForm } from "./answers.js";
import { addKeyFlags, type ServerFlags } from "./args.js";
import { ExitError } from "./exit.js";
import { EXIT } from "./exit-codes.js";
import { jsonLine, oneLine, row, spanText } from "./words.js";

/** Partitions that are named one by one. */
const NAMED_MAX = 10;

/** `cluster status`: who serves what, and how etcd is. */
export function addClusterCommands(program: Command): void {
  const cluster = program
    .command("cluster")
    .usage("<command> [options]")
    .summary("look at the servers of a cluster")
    .description("Several servers that share an etcd, and serve one name space of locks.");
  const status = cluster
    .command("status")
    .summary("show who serves what, and how etcd is")
    .description(
      "Shows the members of the cluster, what each serves, what is changing hands, and how etcd is, as the server that is " +
        "asked sees it. It needs a key of the account default with the scope read.",
    );
  addKeyFlags(status)
    .addHelpText("after", STATUS_HELP)
    .action((flags: ServerFlags) =>
      withApi(flags, async (api, print) => {
        const info = await api.ask("/v1/cluster", { read: clusterForm });
        const problems = problemsOf(info);
        if (flags.json) await print(jsonLine({ ...info, problems }));
        else await print([...tablesOf(info), "", ...verdictOf(info, problems)].join("\n"));
        if (problems.length > 0) throw new ExitError(EXIT.failed);
      }),
    );
}

const STATUS_HELP = `
It exits 1 when something is wrong: a member that is not ready, services that
nobody serves, etcd without a leader or with a member that does not answer.
While servers start, stop or are replaced that is so for a few seconds.

Examples:
  lockdb cluster status
  lockdb cluster status --json | jq -r '.problems[]'`;

/** What is wrong, a sentence each. */
function problemsOf({ cluster, members, partitions, etcd }: ClusterInfo): readonly string[] {
  if (cluster === null) return [];
  const unserved = partitions.filter(({ state }) => state !== "served");
  const ids = unserved.slice(0, NAMED_MAX).map(({ id, state }) => `${id} (${state})`);
  const more = unserved.length > NAMED_MAX ? ", …" : "";
  return [
    ...members.filter(({ isReady }) => !isReady).map(({ url }) => `${url} is not ready.`),
    ...(members.length === 0 ? ["There is no member."] : []),
    ...(unserved.length === 0
      ? []
      : [`${unserved.length} of ${partitions.length} partitions are not served: ${ids.join(", ")}${more}.`]),
    ...etcd
      .filter(({ healthy }) => !healthy)
      .map(({ endpoint, error }) => `etcd at ${endpoint}: ${error ?? "it is not healthy"}.`),
    ...(etcd.some(({ isLeader }) => isLeader) ? [] : ["etcd has no leader."]),
  ];
}

function tablesOf({ cluster, members, etcd }: ClusterInfo): readonly string[] {
  if (cluster === null) return ["This server is in no cluster."];
  const isWide = process.stdout.isTTY;
  const memberRow = (cells: readonly string[]) => row(cells, isWide ? [24, 40, 12, 8, 12] : null);
  const etcdRow = (cells: readonly string[]) => row(cells, isWide ? [40, 12, 8, 10, 12] : null);
  return [
    memberRow(["MEMBER", "URL", "STATE", "SERVES", "SEEN"]),
    ...members.map(({ id, url, isReady, isLeaving, isSelf, partitions, lastSeenMs }) => {
      const state = isLeaving ? "leaving" : isReady ? "ready" : "not ready";
      return memberRow([
        id,
        url,
        state,
        String(partitions),
        isSelf ? "itself" : `${spanText(lastSeenMs)} ago`,
      ]);
    }),
    "",
    etcdRow(["ETCD", "STATE", "LEADER", "VERSION", "SIZE"]),
    ...etcd.map(({ endpoint, healthy, isLeader, version, dbSizeBytes }) => {
      const size = dbSizeBytes === null ? "-" : `${(dbSizeBytes / 1_048_576).toFixed(1)} MiB`;
      return etcdRow([
        endpoint,
        healthy ? "healthy" : "ailing",
        isLeader ? "leader" : "-",
        version ?? "-",
        size,
      ]);
    }),
  ];
}

function verdictOf(
  { cluster, members, partitions }: ClusterInfo,
  problems: readonly string[],
): readonly string[] {
  if (cluster === null) return ["It serves all services by itself."];
  if (problems.length > 0) return problems.map((problem) => `WRONG: ${oneLine(problem)}`);
  return [
    `All is well: ${members.length} members serve all ${partitions.length} partitions of ${oneLine(cluster)}.`,
  ];
}
