import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Engine } from "../../src/engine/index.js";
import { TlsWatch } from "../../src/http/tls.js";
import { nodeRuntime } from "../../src/loop/index.js";
import { METRICS, metricsPage } from "../../src/metrics/index.js";
import { SlowWaitLog } from "../../src/slow-wait-log.js";
import { openMemoryStore } from "../../src/store/index.js";
import { Webhooks } from "../../src/webhooks/index.js";
import { certFile, keyFile } from "../tls/files.js";
import { Receiver } from "../webhooks/receiver.js";
import { Api } from "./api.js";
import { ManualStore } from "./manual-store.js";
import { type Family, parseMetrics } from "./prometheus.js";
import {
  ask,
  callBody,
  HttpConnection,
  NativeClient,
  requestBytes,
  startParts,
  startServer,
  type Target,
} from "./server.js";

type Families = ReadonlyMap<string, Family>;

async function scrape(target: Target): Promise<Families> {
  const answer = await ask(target, { method: "GET", path: "/metrics" });
  expect(answer!.status).toBe(200);
  expect(answer!.headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
  return parseMetrics(answer!.body);
}

function sampleOf(families: Families, key: string): number {
  const [name = ""] = key.split(/_(?:count|sum)$|\{/);
  return families.get(name)!.samples.get(key)!;
}

test("[I6zf] the page of metrics is made of the table", () => {
  const page = readFileSync(fileURLToPath(new URL("../../../../docs/metrics.md", import.meta.url)), "utf8");
  expect(page).toBe(metricsPage());
});

test("[I6zg] every metric has a name, a unit and a help as Prometheus would have them", () => {
  for (const { name, type, help, label } of METRICS) {
    expect(name).toMatch(/^lockdb(_[a-z]+)+$/);
    expect(name.endsWith("_total"), name).toBe(type === "counter");
    expect(help, name).toMatch(/^[A-Z1].{3,}\.$/);
    expect(["how", "code", "reason", "state", "status", "version", "mode", null]).toContain(label);
  }
  expect(new Set(METRICS.map(({ name }) => name)).size).toBe(METRICS.length);
});

test("[I6zz] time awake for nothing is not told as work", () => {
  const row = METRICS.find(({ name }) => name === "lockdb_event_loop_busy_seconds_total")!;
  const seen = { process: { busyS: 10 }, loop: { totals: { busyPollMs: 4_000 } } };
  expect("read" in row && row.read(seen as never)).toBe(6);
});

describe("GET /metrics", () => {
  const store = new ManualStore();
  const moved = new Set<string>();
  let parts: Awaited<ReturnType<typeof startParts>>;
  let api: Api;
  let receiver: Receiver;

  beforeAll(async () => {
    receiver = await Receiver.open();
    const webhooks = new Webhooks({
      addresses: { allowPrivate: true, allowed: "" },
      pendingMax: 1_000,
      runtime: nodeRuntime,
      log: { info: () => {}, warn: () => {} },
    });
    parts = await startParts({ store, webhooks });
    api = new Api(parts);
  });

  afterAll(async () => {
    vi.restoreAllMocks();
    await parts.close();
    await receiver.close();
  });

  /** Does something, and waits until each of these has another value than before. A name alone: any of its samples. */
  async function moves(keys: readonly string[], act: () => Promise<unknown>): Promise<Families> {
    const before = await scrape(parts);
    await act();
    for (const endMs = performance.now() + 8_000; ; ) {
      const after = await scrape(parts);
      const still = keys.filter((key) => textOf(before, key) === textOf(after, key));
      if (still.length === 0) {
        for (const key of keys) moved.add(key.split("{")[0]!);
        return after;
      }
      if (performance.now() > endMs) throw new Error(`these do not move: ${still}`);
    }
  }

  function textOf(families: Families, key: string): string {
    return JSON.stringify(key.includes("{") ? sampleOf(families, key) : [...families.get(key)!.samples]);
  }

  test("[I6zh] is what a strict reader of Prometheus' format takes, with every metric of the table, in its order", async () => {
    const families = [...(await scrape(parts)).values()];
    const isHere = ({ name, part }: (typeof METRICS)[number]) =>
      name !== "lockdb_tls_certificate_end_timestamp_seconds" && part !== "The cluster";
    const here = METRICS.filter(isHere);
    expect(families.map(({ name, type }) => ({ name, type }))).toEqual(
      here.map(({ name, type }) => ({ name, type })),
    );
  });

  test("[I6zi] locks, sessions and waits move them", async () => {
    const clients: NativeClient[] = [];
    let token = 0;
    await moves(
      [
        ...["lockdb_grants_total", "lockdb_holds", "lockdb_locks", "lockdb_sessions", "lockdb_services"],
        ...["lockdb_sessions_opened_total", "lockdb_connections", "lockdb_connections_opened_total"],
        ...["lockdb_commit_seconds", "lockdb_commit_records"],
      ],
      async () => {
        clients.push(await NativeClient.welcome(parts), await NativeClient.welcome(parts));
        token = await clients[0]!.acquire("disk");
      },
    );
    const [ann, bob] = clients as [NativeClient, NativeClient];
    const outer = await bob.acquire("outer");
    let id = 0;
    const waiting = await moves(
      ["lockdb_queued_total", "lockdb_waiters", "lockdb_nested_waiters", "lockdb_lease_clock_seconds"],
      async () => {
        id = bob.newId();
        bob.send(["acquire", id, "disk", 60_000, { within: [outer] }]);
        await bob.next("queued", id);
      },
    );
    expect(sampleOf(waiting, "lockdb_waiters")).toBe(1);
    const lines: object[] = [];
    const slow = new SlowWaitLog(parts.loop, 1, { warn: (facts) => void lines.push(facts) });
    await moves(["lockdb_slow_waits_total"], async () => {
      while (lines.length === 0) {
        slow.look();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
    await moves(
      ["lockdb_acquire_wait_seconds", "lockdb_hold_seconds", 'lockdb_holds_ended_total{how="released"}'],
      async () => {
        await ann.release(token);
        await bob.next("granted", id);
      },
    );
    await moves(['lockdb_holds_ended_total{how="forced"}'], async () => {
      const { holders } = await bob.inspect("disk");
      await ann.request("force", "disk", holders[0]!.token, "a test");
    });
    await moves(['lockdb_holds_ended_total{how="expired"}'], async () => {
      await ann.request("acquire", "short", 0, { detachedMs: 1 });
    });
    await moves(['lockdb_holds_ended_total{how="taken_back"}'], async () => {
      const taken = ann.newId();
      ann.send(["acquire", taken, "taken", 0]);
      const [, , tokenTaken] = await ann.next("granted", taken);
      ann.send(["cancel", taken, tokenTaken]);
    });
    await moves(['lockdb_refusals_total{code="LOCK_TIMEOUT"}'], async () => {
      expect((await ann.request("acquire", "outer", 0))[0]).toBe("refused");
    });
    await moves(["lockdb_sessions_expired_total"], async () => {
      (await NativeClient.welcome(parts, { leaseMs: 1_000 })).close();
    });
    for (const client of clients) client.close();
  });

  test("[I6zi] a service that fails moves them, and what its clients bring back", async () => {
    const apply = Engine.prototype.apply;
    const client = await NativeClient.welcome(parts, {
      session: "s7777777",
      client: "c7777777",
      service: "sick",
    });
    const token = await client.acquire("kept");
    const planted = vi.spyOn(Engine.prototype, "apply").mockImplementation(function (
      this: Engine,
      ...args: Parameters<Engine["apply"]>
    ) {
      if ("name" in args[0] && args[0].name === "poison") throw new Error("planted");
      apply.apply(this, args);
    });
    await moves(["lockdb_service_failures_total", "lockdb_services_recovering"], async () => {
      client.send(["inspect", client.newId(), "poison"]);
      await client.closed;
    });
    planted.mockRestore();
    await moves(["lockdb_holds_restored_total"], async () => {
      const back = await NativeClient.open(parts);
      const same = { service: "sick", session: "s7777777", client: "c7777777", leaseMs: 60_000, owner: "a" };
      back.send(["hello", { ...same, connection: 2, resume: true }], ["hold", token, "kept"], ["sync"]);
      await back.next("welcome");
      back.close();
    });
  });

  test("[I6zi] callers, right and wrong, move them", async () => {
    await moves(["lockdb_api_keys", "lockdb_accounts", "lockdb_http_answers_total"], () =>
      api.post("/v1/accounts", { email: "team@example.com" }),
    );
    await moves(['lockdb_auth_failures_total{reason="no_key"}'], () =>
      api.get("/v1/services", { key: null }),
    );
    await moves(
      [
        'lockdb_auth_failures_total{reason="wrong_key"}',
        "lockdb_rate_limited_total",
        "lockdb_refusals_total",
      ],
      async () => {
        for (let at = 0; at < 61; at++) await api.get("/v1/services", { key: `ldb_wrong_${at}` });
      },
    );
    await moves(['lockdb_http_answers_total{status="4xx"}'], () => api.get("/v1/nowhere"));
    const reader = await HttpConnection.open(parts, { isPaused: true });
    await moves(["lockdb_event_readers"], async () => {
      reader.write(requestBytes({ method: "GET", path: "/v1/services/reports/events", key: parts.rootKey }));
    });
    await moves(["lockdb_event_readers_cut_total", "lockdb_event_backlog_bytes"], async () => {
      const client = await NativeClient.welcome(parts);
      const names = Array.from({ length: 64 }, (_, at) => `${at}`.padStart(500, "x"));
      for (let round = 0; round < 300; round++) await client.release(await client.acquire(names as never));
      client.close();
    });
    reader.socket.destroy();
  });

  test("[I6zi] webhooks move them", async () => {
    let status = 200;
    receiver.answer = (_request, response) => void response.writeHead(status).end();
    const owe = async (name: string) => {
      await ask(parts, { path: "/lock", body: callBody("lock", name, { unlockWebhookUrl: receiver.url() }) });
      await ask(parts, { path: "/unlock", body: callBody("unlock", name) });
    };
    await moves(["lockdb_webhooks_delivered_total"], () => owe("told"));
    status = 410;
    await moves(["lockdb_webhooks_given_up_total"], () => owe("gone"));
    status = 500;
    await moves(
      ["lockdb_webhook_attempts_failed_total", "lockdb_webhooks_pending", "lockdb_webhook_targets_paused"],
      async () => {
        for (let at = 0; at < 6; at++) await owe(`failing ${at}`);
      },
    );
  });

  test("[I6zi] the process moves its own", async () => {
    const busy = async () => {
      for (const endMs = performance.now() + 30; performance.now() < endMs; );
    };
    const families = await moves(
      [
        ...["lockdb_process_cpu_seconds_total", "lockdb_event_loop_busy_seconds_total"],
        ...["lockdb_process_resident_memory_bytes", "lockdb_process_heap_bytes"],
        "lockdb_event_loop_lag_seconds",
      ],
      busy,
    );
    await moves(["lockdb_busy_poll_seconds_total"], async () => {
      const wasMs = parts.loop.totals.busyPollMs;
      // Nobody is answered: nothing comes of it that this process would do meanwhile.
      (await NativeClient.welcome(parts)).socket.terminate();
      await vi.waitFor(() => expect(parts.loop.totals.busyPollMs).toBeGreaterThan(wasMs));
    });
    // What does not change while it runs.
    const startedS = sampleOf(families, "lockdb_process_start_time_seconds");
    expect(Math.abs(startedS - (Date.now() / 1_000 - process.uptime()))).toBeLessThan(5);
    expect([...families.get("lockdb_build_info")!.samples]).toEqual([
      ['lockdb_build_info{version="0.1.0"}', 1],
    ]);
    const sockets: HttpConnection[] = [];
    await moves(["lockdb_process_open_fds"], async () => {
      for (let at = 0; at < 5; at++) sockets.push(await HttpConnection.open(parts));
    });
    for (const { socket } of sockets) socket.destroy();
    const open = sampleOf(families, "lockdb_process_open_fds");
    expect(sampleOf(families, "lockdb_process_max_fds")).toBeGreaterThan(open);
    for (const name of ["start_time_seconds", "max_fds"]) moved.add(`lockdb_process_${name}`);
    moved.add("lockdb_build_info");
  });

  test("[I6zi] a store that fails moves them", async () => {
    store.isManual = true;
    await moves(["lockdb_store_failures_total"], async () => {
      const refused = api.acquire("durable");
      const commit = await store.nextCommit();
      store.isManual = false;
      commit.fail();
      expect((await refused).status).toBe(503);
      while (!parts.loop.ready) await new Promise((resolve) => setTimeout(resolve, 10));
    });
  });

  test("[I6zi] the end of the certificate and readiness are told as they are", async () => {
    const files = { cert: certFile("server"), key: keyFile("server"), clientCa: null };
    const log = { ...console, warn: () => {}, error: () => {} } as never;
    const tls = await TlsWatch.open(files, { log, wallMs: nodeRuntime.wallMs });
    const own = await startParts({ store: openMemoryStore(), tls });
    const families = await scrape(own);
    const endS = sampleOf(families, "lockdb_tls_certificate_end_timestamp_seconds");
    expect(endS).toBe(tls.material.endsAtMs / 1_000);
    expect(sampleOf(families, "lockdb_ready")).toBe(1);
    // It stops: whoever still asks is told.
    const connection = await HttpConnection.open(own);
    await own.loop.stop();
    connection.write(requestBytes({ method: "GET", path: "/metrics", key: own.rootKey }));
    expect(sampleOf(parseMetrics((await connection.answer())!.body), "lockdb_ready")).toBe(0);
    await own.close();
    for (const name of ["lockdb_tls_certificate_end_timestamp_seconds", "lockdb_ready"]) moved.add(name);
  });

  test("[I6zi] no metric of the table was left out", () => {
    // Those of a cluster are moved where there is one: cluster/totals.test.ts, member-counts.test.ts.
    const rows = METRICS.filter(({ part, name }) => part !== "The cluster" && !moved.has(name));
    expect(rows.map(({ name }) => name)).toEqual([]);
  });
});

describe("what is in them", () => {
  test("[I6zj] no label grows with names, services, accounts or keys, and none is shown", async () => {
    const server = await startServer();
    const api = new Api(server);
    const samplesOf = (families: Families) =>
      [...families.values()].flatMap(({ samples }) => [...samples.keys()]);
    const before = samplesOf(await scrape(server));
    for (let at = 0; at < 30; at++) {
      await api.acquire(`secret-name-${at}`, {}, { service: `secret-service-${at}` });
      await api.get(`/locks/secret-name-${at}?x=1`);
    }
    const { body } = await api.post("/v1/keys", { name: "secret-key", scopes: ["lock"] });
    await api.acquire("another", {}, { key: body.apiKey });
    const text = (await ask(server, { method: "GET", path: "/metrics" }))!.body;
    expect(text).not.toMatch(/secret|ldb_|reports|default/);
    expect(samplesOf(parseMetrics(text))).toEqual(before);
    await server.close();
  });

  test("[A1zc] they need a key of the operator that may read, and is not for some services only", async () => {
    const server = await startServer();
    const api = new Api(server);
    const keyWith = async (wish: object, options = {}) =>
      (await api.post("/v1/keys", wish, options)).body.apiKey as string;
    const { body } = await api.post("/v1/accounts", { email: "team@example.com" });
    const statusOf = async (key: string | null) => (await api.get("/metrics", { key })).status;
    expect(await statusOf(null)).toBe(401);
    expect(await statusOf("ldb_wrong")).toBe(401);
    expect(await statusOf(await keyWith({ scopes: ["lock", "force"] }))).toBe(403);
    expect(await statusOf(await keyWith({ scopes: ["read"], services: ["reports"] }))).toBe(403);
    expect(await statusOf(body.apiKey)).toBe(403);
    expect(await statusOf(await keyWith({ scopes: ["read"] }))).toBe(200);
    await server.close();
  });
});
