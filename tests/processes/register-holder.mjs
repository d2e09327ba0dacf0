// Adds one to numbers in a register, each under a lock of its name, as one of many. It may be stopped at any moment: what
// it did before and after is written down with times.
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, service, lease, registerPort, names } = given;
const locker = new LockDB(service, { serverUrl, apiKey, lease });
const THINK_MS = 30;
/** Between looking at its clocks and writing: nothing that is done there is done at once. */
const WRITE_MS = 20;
/** So many do not look at their clocks before they write. */
const CARELESS_SHARE = 0.4;
let isStopping = false;

/** One call is on its way at a time. */
const socket = connect(registerPort, "127.0.0.1").setNoDelay(true);
const answers = createInterface({ input: socket })[Symbol.asyncIterator]();

async function call(op, name, token, value) {
  socket.write(`${JSON.stringify({ op, name, token, value })}\n`);
  return JSON.parse((await answers.next()).value);
}

async function addOne(name) {
  const held = await locker.acquire(name, { wait: "forever" });
  const { token } = held;
  const turn = { name, token, grantedMs: clockMs(), lookedMs: null, wasHeld: null, write: null };
  const { result: number } = await call("read", name, token);
  if (number !== null) {
    notify("read");
    await setTimeout(Math.random() * THINK_MS);
    if (Math.random() < CARELESS_SHARE || look(held, turn)) {
      await setTimeout(Math.random() * WRITE_MS);
      const { result, atMs } = await call("write", name, token, number + 1);
      turn.write = { isTaken: result, atMs };
    }
  }
  // It may be over long since, and its answer late.
  await held.release().catch(() => false);
  return turn;
}

/** Whether it can trust its hold, and a moment before it asked itself. */
function look(held, turn) {
  turn.lookedMs = clockMs();
  try {
    held.assertHeld();
    turn.wasHeld = true;
    notify("looked");
  } catch {
    turn.wasHeld = false;
  }
  return turn.wasHeld;
}

async function run() {
  const turns = [];
  while (!isStopping) turns.push(await addOne(names[Math.floor(Math.random() * names.length)]));
  await locker.close();
  socket.end();
  return turns;
}

const running = run();
serveCalls({
  stop: () => {
    isStopping = true;
    return running;
  },
});
