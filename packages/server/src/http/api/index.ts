import { setImmediate } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import type { ClusterStatus } from "lockdb/protocol";
import type { Access } from "../../access/index.js";
import { ContentionLooks } from "../../loop/index.js";
import type { Sources } from "../../metrics/index.js";
import type { Entry } from "../../store/index.js";
import type { Webhooks } from "../../webhooks/index.js";
import { diagnosis, type Facts } from "../diagnosis.js";
import { docsPage } from "../docs-page.js";
import type { EventHub } from "../event-hub.js";
import { openApiDocument } from "../openapi.js";
import { addOperations, type Operation, type OperationParts } from "../operation.js";
import type { Page } from "../page.js";
import { version } from "../version.js";
import { accountOperations } from "./accounts.js";
import { acquire } from "./acquire.js";
import { backupOperations } from "./backup.js";
import { clusterOperations } from "./cluster.js";
import { contentionOperations } from "./contention.js";
import { eventOperations } from "./events.js";
import { HOLDS } from "./holds.js";
import { keyOperations } from "./keys.js";
import { LOCKS } from "./locks.js";
import { ORIGINAL } from "./original.js";
import { serverOperations } from "./server.js";
import { SERVICE } from "./service.js";
import { SESSIONS } from "./sessions.js";
import { Signups, signupOperations } from "./signup.js";
import { webhookOperations } from "./webhooks.js";

interface ApiParts extends OperationParts {
  readonly access: Access;
  readonly webhooks: Webhooks | undefined;
  readonly signup: boolean;
  readonly hub: EventHub;
  /** Text of all metrics. */
  readonly metrics: () => Promise<string>;
  /** Why this server is out of its cluster; null: it is not. */
  readonly problem: () => string | null;
  readonly cluster: () => Promise<ClusterStatus>;
  /** Of all members; null: what the store has is all. */
  readonly records: () => AsyncIterable<Entry> | null;
  readonly sources: Sources;
  readonly facts: Facts;
}

/** The HTTP API (I3): every operation, the document that is made of them, and the page of it. */
export async function httpApi(
  app: FastifyInstance,
  { access, webhooks, signup, hub, metrics, problem, cluster, records, sources, facts, ...parts }: ApiParts,
) {
  const signups = signup ? new Signups(access, parts.loop.runtime.monotonicMs) : null;
  const { runtime } = parts.loop;
  const looks = new ContentionLooks({
    monotonicMs: () => runtime.monotonicMs(),
    leaseMs: () => parts.loop.leaseMs,
    pause: () => setImmediate(),
  });
  const operations: readonly Operation[] = [
    acquire,
    ...HOLDS,
    ...SESSIONS,
    ...LOCKS,
    ...eventOperations(hub, parts.gate),
    ...SERVICE,
    ...contentionOperations({ looks, diagnosis: () => diagnosis(sources, facts, looks) }),
    ...(webhooks === undefined ? [] : webhookOperations(webhooks)),
    ...keyOperations(access),
    ...accountOperations(access),
    ...backupOperations(records),
    ...(signups === null ? [] : signupOperations(signups)),
    ...ORIGINAL,
    ...clusterOperations(cluster),
    ...serverOperations({ document: () => made().text, page: () => made().page, metrics, problem }),
  ];
  // Made when somebody reads it.
  let docs: Docs | null = null;
  const made = (): Docs => {
    if (docs !== null) return docs;
    const document = openApiDocument(operations, version());
    docs = { text: JSON.stringify(document), page: docsPage(document, operations) };
    return docs;
  };
  addOperations(app, operations, parts);
}

interface Docs {
  readonly text: string;
  readonly page: Page;
}
