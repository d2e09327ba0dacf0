// Locks and unlocks over HTTP, as the original client does, while the server is killed again and again. Its calls fail
// when the server dies: then nobody knows whether they were carried out, and nothing is done about it. A lock that was
// granted to nobody ends by itself.
import { Agent, request } from "node:http";
import { setTimeout } from "node:timers/promises";
import { History } from "./history.mjs";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { id, historyFile, hotNames, service, serverUrl, apiKey } = given;
const history = new History(historyFile, 1);
const agent = new Agent({ keepAlive: true });
/** It hangs up when it has waited so long, as the original client does. */
const WAIT_MS = 1_000;
/** How long its locks block the others when a crash leaves them to nobody. */
const HOT_S = 3;
/** Later than this after it asked, it does not unlock: the lock may be the next holder's by then. */
const UNLOCK_MS_MAX = 2_000;
let isStopping = false;
let oneTimeNames = 0;
let brokenCalls = 0;

const running = Promise.all([again(hotHold), again(oneTimeHold)]);

serveCalls({
  stop: async () => {
    isStopping = true;
    await running;
    agent.destroy();
    return { brokenCalls };
  },
});
notify("ready");

async function again(work) {
  while (!isStopping) {
    await work();
    await setTimeout(10);
  }
}

async function hotHold() {
  const name = hotNames[Math.floor(Math.random() * hotNames.length)];
  const askedMs = clockMs();
  if (!(await lock(name, HOT_S))) return;
  const fromMs = clockMs();
  await setTimeout(Math.random() * 3);
  const untilMs = clockMs();
  if (untilMs > askedMs + UNLOCK_MS_MAX) return;
  history.hold({ type: "http", name, token: null, askedMs, fromMs, untilMs });
  await unlock(name);
}

async function oneTimeHold() {
  const name = `once/${id}/${++oneTimeNames}`;
  if (!(await lock(name, 3_600))) return;
  if (oneTimeNames % 4 === 0) history.kept(name);
  else if (await unlock(name)) history.freed(name);
}

async function lock(lockName, lockExpirationInSeconds) {
  const body = { lockName, eventName: "lock", waitForLockInMs: WAIT_MS, lockExpirationInSeconds };
  const { status } = await post("/lock", body, AbortSignal.timeout(WAIT_MS));
  return status === 200;
}

/** True when the server says that it was locked and is not any more. */
async function unlock(lockName) {
  const fromMs = clockMs();
  const { status, answer } = await post("/unlock", { lockName });
  if (status === 200 && !answer.wasLocked) history.trouble("HTTP hold", "over", fromMs);
  return status === 200 && answer.wasLocked;
}

/** One call. Status 0: the connection broke, or `signal` has hung up. */
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
      resolve({ status: 0, answer: null });
    };
    const call = request(`${serverUrl}${path}`, { method: "POST", agent, headers, signal }, (response) => {
      let answer = "";
      response.setEncoding("utf8");
      response.on("data", (part) => {
        answer += part;
      });
      response.on("end", () => {
        const { statusCode: status } = response;
        resolve({ status, answer: status === 200 ? JSON.parse(answer) : answer });
      });
      response.on("error", failed);
    });
    call.on("error", failed);
    call.end(text);
  });
}
