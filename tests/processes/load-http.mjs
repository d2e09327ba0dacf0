// Locks and unlocks over HTTP, as the original client does, while the server is killed again and again. Its calls fail
// when the server dies: then nobody knows whether they were carried out, and nothing is done about it. A lock that was
// granted to nobody ends by itself.
import { Agent, request } from "node:http";
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { History } from "./history.mjs";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { id, historyFile, service, serverUrl, apiKey } = given;
let { names } = given;
const history = new History(historyFile, 1);
const agent = new Agent({ keepAlive: true });
/** The original answer does not tell the token: this one looks. */
const onlooker = new LockDB(service, { serverUrl, apiKey });
/** It hangs up when it has waited so long, as the original client does. */
const WAIT_MS = 1_000;
/** How long its locks block the others when a crash leaves them to nobody. */
const HOT_S = 3;
/** Later than this after it asked, it does not unlock: the lock may be the next holder's by then. */
const UNLOCK_MS_MAX = 2_000;
const HOT_PAUSE_MS = 20;
const ONE_TIME_PAUSE_MS = 50;
let isStopping = false;
let oneTimeNames = 0;
let brokenCalls = 0;

const running = Promise.all([
  again(HOT_PAUSE_MS, hotHold),
  again(HOT_PAUSE_MS, hotHold),
  again(ONE_TIME_PAUSE_MS, oneTimeHold),
]);

serveCalls({
  /** Whoever waits for one of the old names goes on to. */
  rename: (others) => {
    names = others.names;
  },
  stop: async () => {
    isStopping = true;
    await running;
    agent.destroy();
    await onlooker.close();
    return { brokenCalls };
  },
});
notify("ready");

async function again(pauseMs, work) {
  while (!isStopping) {
    await work();
    await setTimeout(pauseMs);
  }
}

async function hotHold() {
  const name = names.hot[Math.floor(Math.random() * names.hot.length)];
  const askedMs = clockMs();
  const { status, port, isUnknown } = await lock(name, HOT_S);
  const fromMs = clockMs();
  const token = status === 200 ? await tokenOf(name, port) : null;
  if (token === null) {
    if (status === 200 || isUnknown) history.unheard(name, id, askedMs);
    return;
  }
  await setTimeout(Math.random() * 3);
  const [nowMs, lastMs, endsMs] = [clockMs(), askedMs + UNLOCK_MS_MAX, askedMs + HOT_S * 1_000];
  const untilMs = Math.min(nowMs, lastMs);
  history.hold({ client: id, type: "http", name, token, ticket: null, askedMs, fromMs, untilMs, endsMs });
  history.progress();
  if (nowMs > lastMs) return;
  const answered = history.ask({ kind: "unlock", name, client: id, token });
  const unlocked = await unlock(name);
  if (unlocked.status === 200) answered(unlocked.answer.wasLocked);
  else if (unlocked.isUnknown) answered();
}

async function oneTimeHold() {
  const name = `once/${id}/${++oneTimeNames}`;
  const { status } = await lock(name, 3_600);
  if (status !== 200) return;
  if (oneTimeNames % 4 === 0) return history.kept(name);
  const unlocked = await unlock(name);
  if (unlocked.status === 200 && unlocked.answer.wasLocked) history.freed(name);
}

function lock(lockName, lockExpirationInSeconds) {
  const body = { lockName, eventName: "lock", waitForLockInMs: WAIT_MS, lockExpirationInSeconds };
  return post("/lock", body, AbortSignal.timeout(WAIT_MS));
}

/** The token of the holder behind this port. Null: its time is over, or nobody can tell. */
async function tokenOf(name, port) {
  const info = await onlooker.inspect(name).catch(() => null);
  return info?.holders.find(({ owner }) => owner === `http:127.0.0.1:${port}`)?.token ?? null;
}

async function unlock(lockName) {
  const fromMs = clockMs();
  const unlocked = await post("/unlock", { lockName });
  if (unlocked.status === 200 && !unlocked.answer.wasLocked) history.trouble("HTTP hold", "over", fromMs);
  return unlocked;
}

/**
 * One call. Status 0: the connection broke, or `signal` has hung up. Then it is unknown whether the call was carried
 * out, unless the server was not even there.
 */
function post(path, body, signal) {
  const text = JSON.stringify({ serviceId: service, ...body });
  const headers = {
    authorization: `Bearer ${apiKey}`,
    "content-type": "text/plain;charset=UTF-8",
    "content-length": Buffer.byteLength(text),
  };
  return new Promise((resolve) => {
    const failed = ({ code }) => {
      if (code === "ECONNRESET") brokenCalls++;
      resolve({ status: 0, isUnknown: code !== "ECONNREFUSED" });
    };
    const call = request(`${serverUrl}${path}`, { method: "POST", agent, headers, signal }, (response) => {
      const port = response.socket.localPort;
      let answer = "";
      response.setEncoding("utf8");
      response.on("data", (part) => {
        answer += part;
      });
      response.on("end", () => {
        const { statusCode: status } = response;
        resolve({ status, answer: status === 200 ? JSON.parse(answer) : answer, port, isUnknown: false });
      });
      response.on("error", failed);
    });
    call.on("error", failed);
    call.end(text);
  });
}
