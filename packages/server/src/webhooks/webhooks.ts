import {
  type Act,
  type LoopRuntime,
  type Outbox,
  type OutsideChange,
  type OutsideRead,
  type OutsideRecord,
  type OwedDelivery,
  ServiceKey,
} from "../loop/index.js";
import { type AddressOptions, AddressPolicy } from "./addresses.js";
import { restartDelayMs } from "./backoff.js";
import { Deliverer } from "./deliverer.js";
import { Delivery, type DeliveryRecord } from "./delivery.js";
import { DeliveryLog, type PageQuery, type Status } from "./delivery-log.js";
import { dnsLookup, type Lookup } from "./lookup.js";
import { post } from "./post.js";
import { type PutIfAbsent, type SecretInfo, Secrets } from "./secrets.js";
import { signedHeaders } from "./signature.js";

const CONNECT_MS = 5_000;
const TOTAL_MS = 15_000;

/** How long a stop waits for attempts that are on their way: each that comes to its end need not be made again. */
const STOP_GRACE_MS = 500;

export interface WebhooksOptions {
  readonly addresses: AddressOptions;
  /** Pending deliveries of an account; beyond it no new hold may ask for one (N3). */
  readonly pendingMax: number;
  /** The same for one account, if that is less; null: it is not. */
  readonly pendingMaxOf?: (account: string) => number | null;
  readonly runtime: Pick<LoopRuntime, "monotonicMs" | "wallMs" | "randomId" | "setTimer">;
  readonly log: {
    info(facts: object, text: string): void;
    warn(facts: object, text: string): void;
  };
  /** From 0 to 1; default `Math.random`. */
  readonly random?: () => number;
  readonly lookup?: Lookup;
  /** In a cluster: how an account's first secret is made, by whichever member signs first. */
  readonly putIfAbsent?: PutIfAbsent;
  /** How long a connection, and a whole attempt, may take. Defaults 5 s and 15 s. */
  readonly connectMs?: number;
  readonly totalMs?: number;
}

/** A delivery as it is shown. */
export interface DeliveryInfo {
  readonly id: string;
  readonly service: string;
  readonly lockName: string;
  readonly token: number;
  readonly endedBy: OwedDelivery["endedBy"];
  readonly url: string;
  readonly createdAt: string;
  readonly status: Status;
  readonly attempts: number;
  readonly lastAttemptAt: string | null;
  /** HTTP status of the last answer, if one came. */
  readonly lastStatus: number | null;
  readonly lastError: string | null;
  /** Null when there will be none. */
  readonly nextAttemptAt: string | null;
  /** True while the target is left alone after failures in a row. */
  readonly paused: boolean;
}

/** Tells the ends of holds to those who were named for it (C5). The loop's outbox, and what operators look at. */
export class Webhooks implements Outbox {
  readonly kinds: ReadonlySet<string> = new Set(["delivery", "webhook"]);
  /** What has become of attempts since this process began. */
  readonly totals = { delivered: 0, attemptsFailed: 0, givenUp: 0 };
  readonly #options: WebhooksOptions;
  readonly #policy: AddressPolicy;
  readonly #logs = new Map<string, DeliveryLog>();
  #keeper: Keep | null = null;
  /** In the store, and more than are kept. */
  #unwanted: readonly Delivery[] = [];
  #secrets: Secrets;
  #deliverer: Deliverer;

  constructor(options: WebhooksOptions) {
    this.#options = options;
    this.#policy = new AddressPolicy(options.addresses);
    this.#secrets = this.#newSecrets();
    this.#deliverer = this.#newDeliverer();
  }

  /** Begins to send, and from now on keeps its records there. */
  start(loop: { readonly keep: Keep }): void {
    this.#keeper = (changes, ...acts) => loop.keep(changes, ...acts);
    this.#resume();
  }

  /** Ends. What is still owed is in the store. */
  async stop(): Promise<void> {
    await this.#deliverer.stop(STOP_GRACE_MS);
    this.#keeper = null;
  }

  // --- the loop's side ---

  urlProblem(url: string): string | null {
    return this.#policy.urlProblem(url);
  }

  isFull(account: string): boolean {
    const { pendingMax, pendingMaxOf } = this.#options;
    const max = Math.min(pendingMax, pendingMaxOf?.(account) ?? pendingMax);
    return this.pendingOf(account) >= max;
  }

  /** Deliveries of an account that are still to be made here. */
  pendingOf(account: string): number {
    return this.#logs.get(account)?.pendingCount ?? 0;
  }

  restore(records: readonly OutsideRecord[]): void {
    this.#logs.clear();
    this.#unwanted = [];
    // In a cluster they are not among these records: what `readSecrets` was given counts.
    if (this.#options.putIfAbsent === undefined) this.#secrets = this.#newSecrets();
    this.#deliverer = this.#newDeliverer();
    this.#take(records);
    if (this.#keeper !== null) this.#resume();
  }

  add(records: readonly OutsideRecord[]): void {
    const pending = this.#take(records);
    // Else they are among those that `start` begins with.
    if (this.#keeper !== null) this.#resume(pending);
  }

  drop(isIn: (service: ServiceKey) => boolean): void {
    const isGone = ({ account, record }: Delivery) => isIn(new ServiceKey(account, record.service));
    this.#unwanted = this.#unwanted.filter((delivery) => !isGone(delivery));
    for (const log of this.#logs.values()) {
      for (const delivery of log.all()) {
        if (!isGone(delivery)) continue;
        delivery.isElsewhere = true;
        this.#deliverer.forget(delivery);
        log.forget(delivery);
      }
    }
  }

  /** In a cluster: takes what others have changed of secrets. @returns what was read, for whoever is next */
  readSecrets(found: OutsideRead): OutsideRead {
    for (const { key, value } of found.isWhole ? found.records : found.changes)
      if (value !== null && key.split("/")[1] === "webhook") this.#secrets.restore({ key, value });
    return found;
  }

  named(): Pick<OwedDelivery, "id" | "createdAt"> {
    const { randomId, wallMs } = this.#options.runtime;
    return { id: `msg_${randomId()}`, createdAt: new Date(wallMs()).toISOString() };
  }

  owed(key: string, record: OwedDelivery): void {
    const delivery = new Delivery(key, record, this.#options.runtime.monotonicMs());
    this.#logOf(delivery.account).add(delivery);
    // Else it is among those that `start` begins with.
    if (this.#keeper !== null) this.#deliverer.schedule(delivery, 0);
  }

  failed(): void {
    void this.#deliverer.stop(0);
  }

  // --- what operators look at ---

  /** Deliveries that are still to be made, of all accounts, and targets that are left alone. */
  census(): { readonly pending: number; readonly pausedTargets: number } {
    let pending = 0;
    for (const { pendingCount } of this.#logs.values()) pending += pendingCount;
    return { pending, pausedTargets: this.#deliverer.parkedCount };
  }

  /** The newest first. */
  page(
    account: string,
    query: PageQuery,
  ): { readonly deliveries: readonly DeliveryInfo[]; readonly next: string | null } {
    const { found, next } = this.#logOf(account).page(query);
    return { deliveries: found.map((delivery) => this.#info(delivery)), next };
  }

  /**
   * Tries a delivery now, and for another day if that fails. Null when there is none with this id.
   * @throws Error when the store does not work
   */
  async retry(account: string, id: string, who: string): Promise<DeliveryInfo | null> {
    const log = this.#logOf(account);
    const delivery = log.get(id);
    if (delivery === undefined) return null;
    if (!delivery.isInFlight) {
      delivery.again(this.#options.runtime.monotonicMs());
      log.reopened(delivery);
      const act = { account, who, what: "webhook tried again", details: { id } };
      await this.#keep([{ key: delivery.key, value: delivery.record }], act);
      if (delivery.isPending && !delivery.isElsewhere) this.#deliverer.now(delivery);
    }
    return this.#info(delivery);
  }

  /**
   * Gives a pending delivery up. Null when there is none with this id; one that is over stays as it is, and one that is on
   * its way at this moment may be delivered all the same.
   * @param who for the audit log
   * @throws Error when the store does not work
   */
  async giveUp(account: string, id: string, who: string): Promise<DeliveryInfo | null> {
    const log = this.#logOf(account);
    const delivery = log.get(id);
    if (delivery === undefined) return null;
    if (delivery.isPending && !delivery.isInFlight) {
      this.#deliverer.forget(delivery);
      delivery.giveUp("given up by hand", this.#options.runtime.monotonicMs());
      this.totals.givenUp++;
      await this.#written(delivery, { account, who, what: "webhook given up", details: { id } });
    }
    return this.#info(delivery);
  }

  /** @throws Error when the store does not work */
  secret(account: string): Promise<SecretInfo> {
    return this.#secrets.of(account);
  }

  /**
   * @param who for the audit log
   * @throws Error when the store does not work
   */
  rotate(account: string, oldKeptMs: number, who: string): Promise<SecretInfo> {
    const act = { account, who, what: "webhook secret changed", details: { oldKeptMs } };
    return this.#secrets.rotate(account, oldKeptMs, act);
  }

  /** Takes deliveries and secrets up. @returns those deliveries that are still to be made */
  #take(records: readonly OutsideRecord[]): readonly Delivery[] {
    const nowMs = this.#options.runtime.monotonicMs();
    const deliveries: Delivery[] = [];
    for (const record of records) {
      if (record.key.split("/")[1] === "webhook") this.#secrets.restore(record);
      else deliveries.push(new Delivery(record.key, record.value as DeliveryRecord, nowMs));
    }
    deliveries.sort((a, b) => compare(a.record.createdAt, b.record.createdAt));
    const byAccount = new Map<string, Delivery[]>();
    for (const delivery of deliveries) {
      const ofAccount = byAccount.get(delivery.account);
      if (ofAccount === undefined) byAccount.set(delivery.account, [delivery]);
      else ofAccount.push(delivery);
    }
    for (const [account, ofAccount] of byAccount) this.#logOf(account).addAll(ofAccount);
    // In the order of their ends, which is what decides who is forgotten first.
    const over = deliveries.filter(({ isPending }) => !isPending);
    over.sort((a, b) => compare(a.record.attemptedAt ?? "", b.record.attemptedAt ?? ""));
    const unwanted = over.flatMap((delivery) => this.#logOf(delivery.account).over(delivery));
    this.#unwanted = [...this.#unwanted, ...unwanted];
    return deliveries.filter(({ isPending }) => isPending);
  }

  #resume(pending: readonly Delivery[] = [...this.#logs.values()].flatMap((log) => log.pending())): void {
    const unwanted = this.#unwanted.map(({ key }): OutsideChange => ({ key, value: null }));
    this.#unwanted = [];
    // Else the next start does it.
    if (unwanted.length > 0) this.#keep(unwanted).catch(() => {});
    for (const delivery of pending) {
      const waitMs = delivery.record.waitMs ?? 0;
      this.#deliverer.schedule(delivery, restartDelayMs(waitMs, this.#random()));
    }
  }

  #logOf(account: string): DeliveryLog {
    let log = this.#logs.get(account);
    if (log === undefined) {
      log = new DeliveryLog();
      this.#logs.set(account, log);
    }
    return log;
  }

  #newSecrets(): Secrets {
    const { runtime, putIfAbsent } = this.#options;
    return new Secrets(runtime.wallMs, (changes, ...acts) => this.#keep(changes, ...acts), putIfAbsent);
  }

  #newDeliverer(): Deliverer {
    const { monotonicMs, wallMs, setTimer } = this.#options.runtime;
    const { log } = this.#options;
    return new Deliverer({
      monotonicMs,
      wallMs,
      setTimer,
      random: () => this.#random(),
      send: (delivery, signal) => this.#send(delivery, signal),
      changed: (delivery) => this.#changed(delivery),
      noted: (what, origin) => {
        if (what === "opened")
          log.warn({ origin }, "a webhook target fails again and again: it is left alone for a while");
        else log.info({ origin }, "a webhook target is back");
      },
    });
  }

  #random(): number {
    return (this.#options.random ?? Math.random)();
  }

  async #send({ account, record }: Delivery, signal: AbortSignal) {
    const { runtime, lookup = dnsLookup, connectMs = CONNECT_MS, totalMs = TOTAL_MS } = this.#options;
    try {
      const secrets = await this.#secrets.live(account);
      // Exactly what the original sent, and nothing else.
      const body = JSON.stringify({ serviceId: record.service, lockName: record.lockName });
      const signed = signedHeaders(secrets, {
        id: record.id,
        atS: Math.floor(runtime.wallMs() / 1_000),
        body,
      });
      const headers = { "content-type": "application/json", "user-agent": "LockDB-Webhook", ...signed };
      return await post(
        { url: record.url, headers, body },
        { policy: this.#policy, lookup, connectMs, totalMs },
        signal,
      );
    } catch {
      // No secret could be kept: the store has failed, and all of this begins anew.
      return { status: null, error: "the store does not work", retryAfterMs: 0, isGone: false };
    }
  }

  /** What has become of it is written down; if that fails, all is read anew and the attempt is made again. */
  #changed(delivery: Delivery): void {
    const { record } = delivery;
    this.#count(record);
    this.#written(delivery).catch(() => {});
    if (record.status !== "failed") return;
    const { id, service, attempts, error } = record;
    this.#options.log.warn(
      { id, service, origin: delivery.origin, attempts, error },
      "a webhook is given up",
    );
  }

  #count({ status }: DeliveryRecord): void {
    if (status === "delivered") this.totals.delivered++;
    else if (status === "failed") this.totals.givenUp++;
    else this.totals.attemptsFailed++;
  }

  #written(delivery: Delivery, ...acts: readonly Act[]): Promise<void> {
    const forgotten = delivery.isPending ? [] : this.#logOf(delivery.account).over(delivery);
    const changes = forgotten.map(({ key }): OutsideChange => ({ key, value: null }));
    return this.#keep([{ key: delivery.key, value: delivery.record }, ...changes], ...acts);
  }

  #keep(changes: readonly OutsideChange[], ...acts: readonly Act[]): Promise<void> {
    return this.#keeper?.(changes, ...acts) ?? Promise.reject(new Error("The store does not work now."));
  }

  #info(delivery: Delivery): DeliveryInfo {
    const {
      id,
      service,
      lockName,
      token,
      endedBy,
      url,
      createdAt,
      status = "pending",
      ...rest
    } = delivery.record;
    const { monotonicMs, wallMs } = this.#options.runtime;
    const isPending = status === "pending";
    const inMs = this.#deliverer.nextAttemptMs(delivery) - monotonicMs();
    return {
      id,
      service,
      lockName,
      token,
      endedBy,
      url,
      createdAt,
      status,
      attempts: rest.attempts ?? 0,
      lastAttemptAt: rest.attemptedAt ?? null,
      lastStatus: rest.answered ?? null,
      lastError: rest.error ?? null,
      nextAttemptAt: isPending ? new Date(wallMs() + Math.max(0, inMs)).toISOString() : null,
      paused: isPending && this.#deliverer.isParked(delivery),
    };
  }
}

type Keep = (changes: readonly OutsideChange[], ...acts: readonly Act[]) => Promise<void>;

function compare(a: string, b: string): number {
  return Number(a > b) - Number(a < b);
}
