import type { ClusterStatus } from "lockdb/protocol";
import { ACCOUNT_DEFAULT } from "../../access/index.js";
import { Cluster } from "../cluster-schema.js";
import { Refusal } from "../errors.js";
import type { Operation } from "../operation.js";

const NOT_THE_OPERATORS =
  "The cluster is the operator's. Use a key of the account default, with the scope read, that is for all services.";

const EXAMPLE: ClusterStatus = {
  cluster: "lockdb",
  members: [
    {
      id: "pJ2n0XnGQkq8w6tq0Yw3Xg",
      url: "https://lockdb-1.internal:5625",
      isReady: true,
      isLeaving: false,
      isSelf: true,
      partitions: 1,
      lastSeenMs: 0,
    },
  ],
  partitions: [{ id: 0, owner: "pJ2n0XnGQkq8w6tq0Yw3Xg", epoch: 3, state: "served" }],
  etcd: [
    {
      endpoint: "https://etcd-1.internal:2379",
      healthy: true,
      isLeader: true,
      version: "3.5.17",
      dbSizeBytes: 1_048_576,
      error: null,
    },
  ],
};

/** How the cluster is, as this member sees it. */
export function clusterOperations(status: () => Promise<ClusterStatus>): readonly Operation[] {
  return [
    {
      id: "getCluster",
      method: "GET",
      path: "/v1/cluster",
      tag: "The server",
      need: { scopes: ["read"], isOverall: true },
      summary: "Look at the cluster",
      description: `Its members, who serves which partition of the services, and how etcd is, as the member that you ask sees it. It takes a key of the account
\`default\` that is not for some services only. A server by itself says that its cluster is \`null\`, and lists nothing.`,
      answers: { 200: { description: "What is known.", schema: Cluster, example: EXAMPLE } },
      errors: [],
      handle: async ({ caller, request }) => {
        if (caller.account !== ACCOUNT_DEFAULT) throw new Refusal("FORBIDDEN", NOT_THE_OPERATORS);
        try {
          return { status: 200, body: await status() };
        } catch (error) {
          request.log.warn({ err: error }, "the cluster could not be looked at");
          throw new Refusal("UNAVAILABLE");
        }
      },
    },
  ];
}
