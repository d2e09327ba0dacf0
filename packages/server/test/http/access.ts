import { nodeRuntime } from "../../src/loop/index.js";
import { Webhooks } from "../../src/webhooks/index.js";
import { Api, type CallOptions } from "./api.js";
import { ManualStore } from "./manual-store.js";
import { type PartsOptions, startParts } from "./server.js";

const SILENT = { info: () => {}, warn: () => {} };
export const DAY_MS = 24 * 3_600_000;
export const ALL = ["lock", "read", "force", "admin"] as const;

export interface Made {
  readonly id: string;
  readonly apiKey: string;
}

/** A server with sign-up and webhooks, whose clocks a test may set forward. */
export class AccessServer {
  /** Added to the clocks: a minute, or a month, is set and not waited for. */
  readonly ahead = { wallMs: 0, monotonicMs: 0 };
  readonly store = new ManualStore();
  /** Where its monotonic clock stands still; null: it goes. */
  frozenMs: number | null = null;
  parts!: Awaited<ReturnType<typeof startParts>>;
  api!: Api;

  static async start(options: Partial<PartsOptions> = {}): Promise<AccessServer> {
    const server = new AccessServer();
    const wallMs = () => nodeRuntime.wallMs() + server.ahead.wallMs;
    const monotonicMs = () => server.frozenMs ?? nodeRuntime.monotonicMs() + server.ahead.monotonicMs;
    const webhooks: Webhooks = new Webhooks({
      addresses: { allowPrivate: true, allowed: "" },
      pendingMax: 10_000,
      pendingMaxOf: (account) => server.parts.access.limitsOf(account)?.deliveries ?? null,
      runtime: { ...nodeRuntime, wallMs },
      log: SILENT,
    });
    const { store } = server;
    server.parts = await startParts({ store, webhooks, wallMs, monotonicMs, signup: true, ...options });
    server.api = new Api(server.parts);
    return server;
  }

  get url(): string {
    return this.parts.url;
  }

  get rootKey(): string {
    return this.parts.rootKey;
  }

  /** For helpers that take a server and use its root key. */
  as(rootKey: string): { readonly url: string; readonly rootKey: string } {
    return { url: this.url, rootKey };
  }

  /** A new account; what a test does not want to run into is set out of its way. */
  async account(trial = false, limits: object = {}): Promise<Made> {
    const { body } = await this.api.post("/v1/accounts", { trial });
    const { id } = body.account;
    if (Object.keys(limits).length > 0) await this.change(id, { limits });
    return { id, apiKey: body.apiKey };
  }

  change(account: string, change: object) {
    return this.api.call("PATCH", `/v1/accounts/${account}`, change);
  }

  async endTrial(account: string): Promise<void> {
    await this.change(account, { trialEndsAt: "2020-01-01T00:00:00Z" });
  }

  /** A new key of the account of another one, or of `default`. */
  async key(wish: object = {}, by: string = this.rootKey): Promise<Made> {
    const { status, body } = await this.api.post("/v1/keys", { scopes: ALL, ...wish }, { key: by });
    if (status !== 201) throw new Error(`no key: ${status} ${JSON.stringify(body)}`);
    return { id: body.key.id, apiKey: body.apiKey };
  }

  narrow(id: string, less: object, options?: CallOptions) {
    return this.api.call("PATCH", `/v1/keys/${id}`, less, options);
  }

  revoke(id: string, options?: CallOptions) {
    return this.api.delete(`/v1/keys/${id}`, options);
  }

  close(): Promise<void> {
    this.store.isManual = false;
    return this.parts.close();
  }
}
