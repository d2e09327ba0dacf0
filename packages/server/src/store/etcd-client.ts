import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import type { Client, ClientDuplexStream, Metadata, ServiceError } from "@grpc/grpc-js";
import {
  type CallOptions,
  CODE,
  type Etcd,
  type EtcdEntry,
  EtcdError,
  type EtcdMemberStatus,
  endOf,
  type Key,
  type RangeAnswer,
  type RangeQuery,
  type Txn,
  type TxnOutcome,
} from "./etcd-api.js";
import type { RangeMessage, StatusMessage, TxnMessage, WatchMessage } from "./etcd-messages.js";
import { bytesRequest, entriesFrom, rangeRequest, revisionOf, txnRequest } from "./etcd-words.js";

export interface EtcdOptions {
  /** Such as `etcd1:2379`. */
  readonly endpoints: readonly string[];
  /** Files in PEM form. Absent: plain text. Host names in certificates, not addresses. */
  readonly tls?: { readonly ca: string | null; readonly cert: string | null; readonly key: string | null };
  readonly user?: { readonly name: string; readonly password: string };
}

/** Loads what speaks to etcd, and nothing otherwise: connections are made when they are needed. @throws Error when a file cannot be read */
export async function openEtcdClient(options: EtcdOptions): Promise<Etcd> {
  const [grpc, { fromJSON }, { ETCD_PROTO }] = await Promise.all([
    import("@grpc/grpc-js"),
    import("@grpc/proto-loader"),
    import("./etcd-messages.js"),
  ]);
  const { etcdserverpb } = grpc.loadPackageDefinition(
    fromJSON(ETCD_PROTO as Parameters<typeof fromJSON>[0], WIRE),
  ) as unknown as EtcdPackage;
  const { tls } = options;
  const read = (file: string | null) => (file === null ? null : readFileSync(file));
  const credentials =
    tls === undefined
      ? grpc.credentials.createInsecure()
      : grpc.credentials.createSsl(read(tls.ca), read(tls.key), read(tls.cert));
  const members = options.endpoints.map((endpoint) => {
    // One connection for all four: they are four names of one channel.
    const kv = new etcdserverpb.KV(endpoint, credentials, CHANNEL);
    const shared = { ...CHANNEL, channelOverride: (kv as Client).getChannel() };
    return {
      endpoint,
      kv,
      watch: new etcdserverpb.Watch(endpoint, credentials, shared),
      maintenance: new etcdserverpb.Maintenance(endpoint, credentials, shared),
      auth: new etcdserverpb.Auth(endpoint, credentials, shared),
    };
  });
  return new EtcdClient(members, options.user ?? null, () => new grpc.Metadata());
}

/**
 * One plain channel a member, and a turn from one to the next of our own: gRPC's balancers stay with a member that is stopped, and its
 * retries would send a transaction twice. Deadlines find out who is silent; a keepalive below ten seconds makes etcd hang up.
 */
const CHANNEL = {
  "grpc.enable_retries": 0,
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  "grpc.max_receive_message_length": 16 * 1_024 * 1_024,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_channelz": 0,
  "grpc.enable_http_proxy": 0,
};
const WIRE = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };

const ATTEMPT_MS = 1_000;
/** After all members have failed, before the first one is asked again. */
const ROUND_MS = 50;
/** How often a read goes around. */
const ROUNDS = 2;
const WATCH_AGAIN_MS = 250;

type Call = (
  request: object,
  metadata: Metadata,
  options: { deadline: number },
  done: (error: ServiceError | null, answer: never) => void,
) => void;
type Service<Methods> = new (endpoint: string, credentials: unknown, options: object) => Client & Methods;
interface EtcdPackage {
  readonly etcdserverpb: {
    readonly KV: Service<Member["kv"]>;
    readonly Watch: Service<Member["watch"]>;
    readonly Maintenance: Service<Member["maintenance"]>;
    readonly Auth: Service<Member["auth"]>;
  };
}
interface Member {
  readonly endpoint: string;
  readonly kv: { Range: Call; Txn: Call; close(): void };
  readonly watch: { Watch(metadata: Metadata): ClientDuplexStream<object, WatchMessage> };
  readonly maintenance: { Status: Call };
  readonly auth: { Authenticate: Call };
}

class EtcdClient implements Etcd {
  readonly #members: readonly Member[];
  readonly #user: EtcdOptions["user"] | null;
  readonly #newMetadata: () => Metadata;
  /** Who is asked first: the last one that was not silent. */
  #first = 0;
  #token: Promise<string> | null = null;
  readonly #watches = new Set<() => void>();
  #isClosed = false;

  constructor(members: readonly Member[], user: EtcdOptions["user"] | null, newMetadata: () => Metadata) {
    this.#members = members;
    this.#user = user;
    this.#newMetadata = newMetadata;
  }

  async txn(txn: Txn, { timeoutMs = ATTEMPT_MS }: CallOptions = {}): Promise<TxnOutcome> {
    const request = txnRequest(txn);
    let error: EtcdError | null = null;
    for (const at of this.#order()) {
      try {
        const answer = await this.#authorized<TxnMessage>(
          at,
          (member) => member.kv,
          "Txn",
          request,
          timeoutMs,
        );
        const gets = answer.responses.flatMap(({ response_range }) =>
          response_range === undefined ? [] : [entriesFrom(response_range.kvs)],
        );
        return {
          kind: answer.succeeded ? "applied" : "refused",
          revision: revisionOf(answer.header.revision),
          gets,
        };
      } catch (caught) {
        error = caught as EtcdError;
        if (error.isTransient) this.#turnFrom(at);
        if (!isNotApplied(error)) return { kind: "unknown", error };
        if (!error.isTransient) break;
      }
    }
    return { kind: "not-applied", error: error! };
  }

  async range(query: RangeQuery, { timeoutMs = ATTEMPT_MS }: CallOptions = {}): Promise<RangeAnswer> {
    const request = rangeRequest(query);
    let error: EtcdError | null = null;
    for (let round = 0; round < ROUNDS; round++) {
      if (round > 0) await setTimeout(ROUND_MS, undefined, { ref: false });
      for (const at of this.#order()) {
        try {
          const answer = await this.#authorized<RangeMessage>(
            at,
            (member) => member.kv,
            "Range",
            request,
            timeoutMs,
          );
          const revision = revisionOf(answer.header!.revision);
          return { entries: entriesFrom(answer.kvs), more: answer.more, revision };
        } catch (caught) {
          error = caught as EtcdError;
          if (!error.isTransient && !isBehind(error)) throw error;
          this.#turnFrom(at);
        }
      }
    }
    throw error!;
  }

  async status({ timeoutMs = ATTEMPT_MS }: CallOptions = {}): Promise<readonly EtcdMemberStatus[]> {
    return Promise.all(
      this.#members.map(async ({ endpoint }, at) => {
        try {
          const answer = await this.#authorized<StatusMessage>(
            at,
            (member) => member.maintenance,
            "Status",
            {},
            timeoutMs,
          );
          const hasLeader = answer.leader !== "0";
          return {
            endpoint,
            problem: answer.errors[0] ?? (hasLeader ? null : "it has no leader"),
            version: answer.version,
            isLeader: answer.leader === answer.header.member_id,
            bytes: Number(answer.dbSize),
            bytesInUse: Number(answer.dbSizeInUse),
          };
        } catch (error) {
          const problem = (error as Error).message;
          return { endpoint, problem, version: null, isLeader: false, bytes: 0, bytesInUse: 0 };
        }
      }),
    );
  }

  watch(prefix: Key, onHint: (entries: readonly EtcdEntry[]) => void): () => void {
    let stream: ClientDuplexStream<object, WatchMessage> | null = null;
    let isOver = false;
    const end = () => {
      isOver = true;
      this.#watches.delete(end);
      stream?.cancel();
    };
    const again = async (at: number) => {
      this.#turnFrom(at);
      await setTimeout(WATCH_AGAIN_MS, undefined, { ref: false });
      if (!isOver) await open();
    };
    const open = async () => {
      const at = this.#first;
      let metadata: Metadata;
      try {
        metadata = await this.#metadata(at, ATTEMPT_MS);
      } catch {
        return again(at);
      }
      if (isOver) return;
      let isEnded = false;
      const ended = () => {
        if (isEnded) return;
        isEnded = true;
        this.#token = null;
        if (!isOver) void again(at);
      };
      stream = this.#members[at]!.watch.Watch(metadata);
      stream.on("data", ({ created, canceled, events }: WatchMessage) => {
        if (canceled) stream!.cancel();
        if (created || events.length > 0) onHint(entriesFrom(events.map(({ kv }) => kv)));
      });
      stream.on("error", ended);
      stream.on("end", ended);
      stream.write({ create_request: bytesRequest(prefix, endOf(prefix)) });
    };
    this.#watches.add(end);
    void open();
    return end;
  }

  close(): void {
    this.#isClosed = true;
    for (const end of this.#watches) end();
    for (const { kv } of this.#members) kv.close();
  }

  /** All members, the one that answered last before the others. */
  *#order(): Generator<number> {
    const first = this.#first;
    for (let step = 0; step < this.#members.length; step++) yield (first + step) % this.#members.length;
  }

  #turnFrom(at: number): void {
    if (this.#first === at) this.#first = (at + 1) % this.#members.length;
  }

  /** With a token, and once more with a new one when it is over. */
  async #authorized<Answer>(
    at: number,
    of: (member: Member) => object,
    method: string,
    request: object,
    timeoutMs: number,
  ): Promise<Answer> {
    const token = this.#token;
    try {
      return await this.#call<Answer>(
        at,
        of,
        method,
        request,
        await this.#metadata(at, timeoutMs),
        timeoutMs,
      );
    } catch (error) {
      if (this.#user === null || !isTokenOver(error as EtcdError)) throw error;
      if (this.#token === token) this.#token = null;
      return this.#call<Answer>(at, of, method, request, await this.#metadata(at, timeoutMs), timeoutMs);
    }
  }

  async #metadata(at: number, timeoutMs: number): Promise<Metadata> {
    const metadata = this.#newMetadata();
    if (this.#user !== null) metadata.set("token", await this.#tokenFrom(at, timeoutMs));
    return metadata;
  }

  async #tokenFrom(at: number, timeoutMs: number): Promise<string> {
    this.#token ??= this.#call<{ readonly token: string }>(
      at,
      (member) => member.auth,
      "Authenticate",
      this.#user!,
      this.#newMetadata(),
      timeoutMs,
    ).then(({ token }) => token);
    const asked = this.#token;
    try {
      return await asked;
    } catch (error) {
      if (this.#token === asked) this.#token = null;
      // Whatever it was for was not sent.
      throw new NotSentError(error as EtcdError);
    }
  }

  #call<Answer>(
    at: number,
    of: (member: Member) => object,
    method: string,
    request: object,
    metadata: Metadata,
    timeoutMs: number,
  ): Promise<Answer> {
    const member = this.#members[at]!;
    if (this.#isClosed)
      throw new NotSentError(new EtcdError(CODE.CANCELLED, "the client is closed", member.endpoint));
    return new Promise((resolve, reject) => {
      const service = of(member) as Record<string, Call>;
      service[method]!(request, metadata, { deadline: Date.now() + timeoutMs }, (error, answer) => {
        if (error === null) resolve(answer);
        else reject(new EtcdError(error.code, error.details, member.endpoint));
      });
    });
  }
}

class NotSentError extends EtcdError {
  constructor({ code, message, endpoint }: EtcdError) {
    super(code, message.slice(`etcd at ${endpoint}: `.length), endpoint);
  }
}

/** Certainly: it never left, or etcd itself says that it did nothing. All others may have been applied. */
function isNotApplied(error: EtcdError): boolean {
  if (error instanceof NotSentError) return true;
  const details = error.message.slice(error.message.indexOf(": ") + 2);
  if (error.code === CODE.UNAVAILABLE) return NEVER_LEFT.test(details) || details === "etcdserver: no leader";
  if (error.code === CODE.DEADLINE_EXCEEDED) return details.endsWith("Waiting for LB pick");
  // Its own words: ours for an answer that is too large are others.
  return REFUSALS.has(error.code) && /^(etcdserver|grpc): /.test(details);
}

const NEVER_LEFT = /^(No connection established|Name resolution failed|Channel closed before call started)/;
const REFUSALS: ReadonlySet<number> = new Set([
  CODE.INVALID_ARGUMENT,
  CODE.PERMISSION_DENIED,
  CODE.RESOURCE_EXHAUSTED,
  CODE.UNAUTHENTICATED,
]);

function isTokenOver({ code, message }: EtcdError): boolean {
  return (
    code === CODE.UNAUTHENTICATED ||
    / (invalid auth token|user name is empty|revision of auth store is old)/.test(message)
  );
}

/** That member has not come as far yet as what is asked for. */
function isBehind({ code, message }: EtcdError): boolean {
  return code === CODE.OUT_OF_RANGE && message.includes("future revision");
}
