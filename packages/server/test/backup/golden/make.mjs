// Makes a backup with every kind of record that this LockDB writes, for the versions to come:
//
//     npm run build && node packages/server/test/backup/golden/make.mjs packages/server/test/backup/golden/format-1.backup
//
// Once a format is released its file stays as it is: it is what others have on their disks.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { copyStore, restoreBackup } from "../../../dist/backup/index.js";

const CLI = fileURLToPath(new URL("../../../../lockdb/bin/lockdb.js", import.meta.url));
const KEY = "root-key-of-the-golden-file";
const HOUR_MS = 3_600_000;

const [to] = process.argv.slice(2);
if (to === undefined || existsSync(to)) throw new Error("Name a file that is not there yet.");
const folder = mkdtempSync(join(tmpdir(), "lockdb-golden-"));
try {
  await make();
} finally {
  rmSync(folder, { recursive: true });
}

async function make() {
  const empty = await serve(join(folder, "empty"), []);
  await stop(empty, "SIGTERM");
  await copyStore(join(folder, "empty"), join(folder, "empty.backup"));
  const dataDir = join(folder, "data");
  await restoreBackup(join(folder, "empty.backup"), dataDir);
  const first = await serve(dataDir, ["--durability", "strict", "--signup", "--webhook-allow-private"]);
  await overHttp(first.url);
  const client = await overWebSocket(first.url);
  await stop(first, "SIGKILL");
  client.terminate();
  // Now the sessions are waited for, and a clean stop writes that down, too.
  await stop(await serve(dataDir, ["--durability", "strict", "--webhook-allow-private"]), "SIGTERM");
  console.log(await copyStore(dataDir, to));
}

async function serve(dataDir, flags) {
  const args = ["serve", "--port", "0", "--data-dir", dataDir, "--log-level", "warn", ...flags];
  const child = spawn(process.execPath, [CLI, ...args], {
    env: { PATH: process.env.PATH, LOCKDB_ROOT_KEY: KEY },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout, "data");
  return { child, url: /http:\S+/.exec(String(line))[0] };
}

async function stop({ child }, signal) {
  child.kill(signal);
  await once(child, "exit");
}

async function overHttp(url) {
  const ask = async (method, path, body, key = KEY) => {
    const answer = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${key}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${text}`);
    return text === "" ? {} : JSON.parse(text);
  };
  const service = "/v1/services/orders";
  await ask("POST", "/v1/signup", { email: "dev@example.com" });
  await ask("POST", "/v1/keys", { scopes: ["lock", "read"], services: ["orders"], name: "for orders" });
  await ask("POST", "/v1/webhooks/secret/rotate", {});
  await ask("PUT", `${service}/settings`, { lockDelayMs: 1_500 });
  // Nobody listens there: the delivery stays owed.
  const webhookUrl = "http://127.0.0.1:9/unlocked";
  const told = { names: "told", leaseMs: HOUR_MS, webhookUrl };
  const { token } = await ask("POST", `${service}/acquire`, { ...told, requestId: "request-told" });
  await ask("POST", `${service}/release`, { token });
  await ask("POST", `${service}/acquire`, {
    ...told,
    names: "leased",
    metadata: { build: 7 },
    owner: "cron@db3",
  });
  const { sessionId } = await ask("POST", `${service}/sessions`, { leaseMs: 60_000, owner: "curl@db4" });
  await ask("POST", `${service}/acquire`, { names: "of an HTTP session", sessionId });
}

async function overWebSocket(url) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/connect`, "lockdb.v1", {
    headers: { authorization: `Bearer ${KEY}` },
  });
  const inbox = [];
  socket.on("message", (data) => inbox.push(...JSON.parse(String(data))));
  await once(socket, "open");
  // It acknowledges nothing, so that answers and revocations stay.
  const send = (...messages) => socket.send(JSON.stringify([0, ...messages]));
  const answer = async (id) => {
    for (;;) {
      const found = inbox.find((message) => message[1] === id && message[0] !== "queued");
      if (found?.[0] === "refused") throw new Error(JSON.stringify(found));
      if (found !== undefined) return found;
      await once(socket, "message");
    }
  };
  const hello = { service: "orders", client: "client-golden", session: "session-golden", connection: 1 };
  send(["hello", { ...hello, resume: false, leaseMs: 60_000, owner: "worker@db5" }], ["sync"]);
  send(["acquire", 1, "of a session", 0]);
  send(["acquire", 2, [["readers", "shared"], ["pool", 5, 2], "third"], 0]);
  send(["acquire", 3, "detached", 0, { detachedMs: HOUR_MS }]);
  send(["acquire", 4, "unlocked", 0, { detachedMs: HOUR_MS }]);
  send(["acquire", 5, "kept closed", 0, { minHoldMs: HOUR_MS }]);
  send(["acquire", 6, "freed by force", 0, { maxHoldMs: HOUR_MS }]);
  const tokens = {};
  for (let id = 1; id <= 6; id++) tokens[id] = (await answer(id))[2];
  send(["unlock", 7, "unlocked"]);
  send(["release", 8, tokens[5]]);
  send(["force", 9, "freed by force", tokens[6], "the golden file wants one"]);
  for (let id = 7; id <= 9; id++) await answer(id);
  return socket;
}
