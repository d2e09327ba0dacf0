/** A server with real clients that contend for locks: what the page is tried on, and pictured with. */
import { serve } from "@lockdb/server";
import LockDB from "lockdb";

export const SERVICE = "billing";

/** Names that somebody could choose who means no good, and some that only look odd. */
export const HOSTILE = {
  image: `<img src=x onerror="document.body.dataset.hacked=1">`,
  script: `</script><script>document.body.dataset.hacked=2</script>`,
  bidi: `safe\u202etxt.exe\u202c`,
  emoji: "😈".repeat(128),
  proto: "__proto__",
  dots: "..",
  space: " ",
  slash: "a/b?c#d%2Fe&f=g",
};

export class Scene {
  /** @type {import("@lockdb/server").Server} */
  server;
  /** @type {LockDB[]} */
  #clients = [];
  #stopping = new AbortController();
  #work = [];

  /** @param {object} options of the server */
  static async start(options = {}) {
    const scene = new Scene();
    scene.server = await serve({ port: 0, store: "memory", logLevel: "silent", signup: true, ...options });
    return scene;
  }

  client(owner, service = SERVICE, more = {}) {
    const client = new LockDB(service, {
      serverUrl: this.server.url,
      apiKey: this.server.rootKey,
      owner,
      ...more,
    });
    this.#clients.push(client);
    return client;
  }

  /** Over HTTP, with the root key unless another one is said. */
  async http(method, path, body, apiKey = this.server.rootKey) {
    const response = await fetch(`${this.server.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${apiKey}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return response.json();
  }

  /** A key, by what it may. */
  async key(scopes, name = scopes.join(" and "), services = null) {
    return (await this.http("POST", "/v1/keys", { scopes, name, services })).apiKey;
  }

  /** Does not end before `close`. */
  #run(work) {
    this.#work.push(work.catch(() => {}));
  }

  /** Somebody takes it when its turn has come, and keeps it. Resolves when it waits or has it. */
  async queue(owner, name, options = {}) {
    const client = this.client(owner);
    this.#run(client.acquire(name, { wait: "forever", signal: this.#stopping.signal, ...options }));
    await this.until(async () => {
      const { holders, queue } = await client.inspect(Array.isArray(name) ? (name[0].name ?? name[0]) : name);
      return [...holders, ...queue].some((each) => each.owner === owner);
    });
    return client;
  }

  /** Two who take two locks in different orders; one is refused. */
  async deadlock(first = "account/7", second = "account/9", [ann, bob] = ["ann", "bob"]) {
    const [a, b] = [this.client(`${ann}@web-1:204`), this.client(`${bob}@web-2:311`)];
    let isReady = () => {};
    const both = new Promise((resolve) => {
      let count = 0;
      isReady = () => ++count === 2 && resolve();
    });
    const inside = (client, outer, inner) =>
      client.withLock(outer, async () => {
        isReady();
        await both;
        await client.withLock(inner, { wait: "5s" }, async () => {});
      });
    const [x, y] = await Promise.allSettled([inside(a, first, second), inside(b, second, first)]);
    return [x, y].filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  }

  /** Work that goes on: short holds of a few locks, by several processes. */
  bustle(names = ["invoice/42", "invoice/43", "stock/teapot"], workers = 5, holdMs = 900) {
    for (let worker = 1; worker <= workers; worker++) {
      const client = this.client(`worker-${worker}@app-${1 + (worker % 3)}:${4_700 + worker}`);
      this.#run(this.#bustle(client, names, worker, holdMs));
    }
  }

  async #bustle(client, names, worker, holdMs) {
    const { signal } = this.#stopping;
    for (let turn = 0; !signal.aborted; turn++) {
      const name = names[(turn + worker) % names.length];
      await client.withLock(name, { wait: "forever", signal }, () =>
        pause(holdMs * (0.5 + ((turn * 7 + worker * 3) % 10) / 10)),
      );
      await pause(holdMs / 3);
    }
  }

  async until(isSo, ms = 10_000) {
    const endMs = Date.now() + ms;
    while (!(await isSo())) {
      if (Date.now() > endMs) throw new Error("It did not come to be so in time.");
      await pause(20);
    }
  }

  async close() {
    this.#stopping.abort();
    await Promise.all(this.#clients.map((client) => client.close().catch(() => {})));
    await Promise.all(this.#work);
    await this.server.close();
  }
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** What an operator of a shop might find. */
export async function shop(scene) {
  await scene.http("GET", `/v1/services/${SERVICE}/events?since=0`);
  scene.bustle();
  const cron = await scene.queue("cron@db3:881", "nightly-report", {
    metadata: { job: "nightly-report", run: 4711, host: "db3.internal" },
  });
  for (const owner of ["cron@db1:12", "report-ui@web-2:310", "export@batch-1:77", "mail@app-2:91"])
    await scene.queue(owner, "nightly-report");
  for (const owner of ["encoder@gpu-1:5", "encoder@gpu-2:5", "encoder@gpu-3:5", "encoder@gpu-4:5"])
    await scene.queue(owner, [{ name: "encoder", permits: 3 }]);
  for (const owner of ["search@app-1:40", "search@app-2:40", "shop@app-3:40"])
    await scene.queue(owner, [{ name: "catalogue", mode: "shared" }]);
  await scene.queue("importer@batch-2:9", "catalogue");
  const deploy = scene.client("ci@runner-7:1");
  await deploy.acquire("deploy", { detached: "30m", metadata: { commit: "a1b2c3d" } });
  await (await deploy.acquire("cron/hourly", { minHold: "20m" })).release();
  // One holds what another one waits for inside of its own.
  const [inner, outer] = [scene.client("payer@app-1:88"), scene.client("ledger@app-2:90")];
  await outer.acquire("ledger/2026");
  const lease = await inner.acquire("payout/17");
  inner.acquire("ledger/2026", { within: lease, wait: "forever" }).catch(() => {});
  await scene.http("POST", `/v1/services/${SERVICE}/acquire`, {
    names: "stock/teapot",
    leaseMs: 1_500,
    waitMs: 20_000,
    owner: "old-php@legacy:1",
  });
  return { cron };
}
