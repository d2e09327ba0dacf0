/** What goes over the HTTP API about the cluster. See schemas.ts. */
import { nullable, object } from "./schemas.js";
import { Type } from "./type.js";

const count = (description: string) => Type.Integer({ minimum: 0, description });
const text = (description: string) => nullable<string>({ type: "string", description } as { type: string });

const Member = object({
  id: Type.String({
    description: "Another one after each start, and after each time that the others went on without it.",
  }),
  url: Type.String({ description: "Where clients and the other members reach it." }),
  isReady: Type.Boolean({ description: "It takes requests." }),
  isLeaving: Type.Boolean({ description: "It hands over what it serves, and stops." }),
  isSelf: Type.Boolean({ description: "The member that has answered this." }),
  partitions: count("How many it serves."),
  lastSeenMs: count("How long ago the member that has answered saw a sign of its life."),
});

const Partition = object({
  id: count("A part of all services."),
  owner: text("Id of the member that serves it; null: none does."),
  epoch: count("Rises each time that it changes hands."),
  state: Type.Union(
    (["served", "claiming", "handing-over", "unowned"] as const).map((state) => Type.Literal(state)),
    { description: "Only what is `served` is answered about." },
  ),
});

const Etcd = object({
  endpoint: Type.String(),
  healthy: Type.Boolean({ description: "It answers, and has a leader." }),
  isLeader: Type.Boolean(),
  version: text("Null: it did not say."),
  dbSizeBytes: nullable<number>({
    type: "integer",
    description: "Size of its database; null: it did not say.",
  } as {
    type: string;
  }),
  error: text("What is wrong; null: nothing."),
});

export const Cluster = object(
  {
    cluster: text("Its name; null: this server is in none."),
    members: Type.Array(Member),
    partitions: Type.Array(Partition),
    etcd: Type.Array(Etcd, { description: "The members of etcd." }),
  },
  "A cluster, as one of its members sees it.",
);
