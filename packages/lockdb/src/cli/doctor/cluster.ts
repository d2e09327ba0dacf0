import type { ClusterInfo } from "../answers.js";
import { type Finding, fail, ok, skipped, warn } from "./finding.js";

/** From here on a member has missed beats: it says one every half second, and is put out after five. */
const SILENT_MS = 2_000;
const NAMED_MAX = 3;

/** How the servers of a cluster are, and etcd, as the server sees them that was asked. */
export function clusterFindings(info: ClusterInfo): readonly Finding[] {
  if (info.cluster === null) return [skipped("cluster", "the server is in none")];
  return [membersFinding(info), etcdFinding(info)];
}

function membersFinding({ members, partitions }: ClusterInfo): Finding {
  if (members.length === 0)
    return fail(
      "cluster",
      "the server that was asked is out of its cluster",
      "`GET /readyz` and its log say why. It joins again by itself as soon as etcd answers it.",
    );
  const unowned = partitions.filter(({ state }) => state === "unowned").length;
  const silent = members.filter(({ lastSeenMs, isSelf }) => !isSelf && lastSeenMs >= SILENT_MS);
  const silentText = listText(
    silent.map(({ url, lastSeenMs }) => `${url} (${Math.floor(lastSeenMs / 1_000)} s)`),
  );
  if (unowned > 0)
    return fail(
      "cluster",
      `nobody serves ${unowned} of ${partitions.length} partitions${silent.length === 0 ? "" : `; silent: ${silentText}`}`,
      "Ask again in ten seconds: after the loss of a server the others take over what it served. If it stays so, no member can write to etcd, or none is ready: see their logs.",
    );
  if (silent.length > 0)
    return warn(
      "cluster",
      `no sign of life from ${silentText}`,
      "See whether that server runs, reaches etcd, and has CPU. After five seconds of silence the others take over what it serves; it comes back by itself.",
    );
  const stuck = members.filter(({ isReady }) => !isReady);
  if (stuck.length > 0)
    return warn(
      "cluster",
      `not ready: ${listText(stuck.map(({ url }) => url))}`,
      "It starts, or its store does not work: see its log. What it would serve, the others do.",
    );
  const moving = partitions.filter(({ state }) => state !== "served").length;
  if (moving > 0)
    return warn(
      "cluster",
      `${moving} of ${partitions.length} partitions change hands`,
      "Wait: that takes seconds, while servers start, stop or are replaced. If it stays so, see the logs of the members.",
    );
  const own = members.find(({ isSelf }) => isSelf);
  return members.length === 1
    ? warn(
        "cluster",
        `${own?.url ?? "one server"} is the only member: nobody takes over from it`,
        "Start another one with the same --store and --cluster.",
      )
    : ok("cluster", `${members.length} members serve all ${partitions.length} partitions`);
}

function etcdFinding({ etcd }: ClusterInfo): Finding {
  const down = etcd.filter(({ healthy }) => !healthy);
  const downText = listText(
    down.map(({ endpoint, error }) => `${endpoint} (${error ?? "it is not healthy"})`),
  );
  if (!etcd.some(({ isLeader }) => isLeader))
    return fail(
      "etcd",
      `etcd has no leader${down.length === 0 ? "" : `: ${downText}`}`,
      "Bring back more than half of its members: until then nothing is granted that has to be written, and after five seconds nothing at all.",
    );
  if (down.length > 0)
    return warn(
      "etcd",
      `${down.length} of ${etcd.length} members of etcd do not work: ${downText}`,
      `Bring it back, or replace it (\`etcdctl member remove\`, \`member add\`, then --store): with more than half gone, the locks stop.`,
    );
  return ok("etcd", `all ${etcd.length} members of etcd work`);
}

function listText(names: readonly string[]): string {
  const more = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : "";
  return `${names.slice(0, NAMED_MAX).join(", ")}${more}`;
}
