// Clients that lock and unlock while everything around them breaks. What they saw is appended to a file (history.mjs); calls that fail are written
// down, and never end the load.
import { setMaxListeners } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { History } from "../../processes/history.mjs";
import { clockMs, given, mendClock, serveCalls } from "../../processes/mailbox.mjs";

const { id, services, urls, apiKey, historyFile, lease = "10s" } = given;
/** A few are held for so long that faults come meanwhile. */
const {
  longMs = 9_000,
  longShare = 0.04,
  pauseMs = 5,
  detachedMs = 20_000,
  oneTimePauseMs = 1_500,
  hasPassersBy = true,
  hasHttp = true,
  /** Its clock is to be mended before it starts. */
  isClockWrong = false,
  /** How much sooner than it was told a detached hold may end, for the rates of clocks. */
  endSlack = 0,
  /** Of a register (register.mjs) to which each hold writes at its end, believed in or not. */
  registerPort = null,
} = given;
let { period } = given;
const history = new History(historyFile, Number.POSITIVE_INFINITY);
const NAMES = 3;
const ONE_TIME_MS = 3_600_000;
const CHECK_PAUSE_MS = 700;
/** Who was never here goes to whoever serves now, while the others stay where they were. */
const PASSER_BY_PAUSE_MS = 3_000;
const PASSER_BY_WAIT_MS = 6_000;
const LOOK_MS = 25;
const stopping = new AbortController();
setMaxListeners(0, stopping.signal);
let grants = 0;

class LoadClient {
  #id;
  #service;
  #locker;
  #running;
  #number = 0;

  constructor(id, service) {
    this.#id = id;
    this.#service = service;
    this.#locker = new LockDB(service, { serverUrl: urls, apiKey, lease });
  }

  start() {
    this.#running = Promise.all([
      again(pauseMs, () => this.#hold(this.#name(), {})),
      again(pauseMs, () => this.#hold(this.#name(), { detached: detachedMs })),
      again(oneTimePauseMs, () => this.#oneTime()),
      again(CHECK_PAUSE_MS, () => this.#check()),
      hasPassersBy && again(PASSER_BY_PAUSE_MS, () => this.#passBy()),
    ]);
  }

  async stop() {
    await this.#running;
    await Promise.race([this.#locker.close(), setTimeout(5_000)]);
  }

  #name() {
    return `${this.#service}/${period}/${Math.floor(Math.random() * NAMES)}`;
  }

  /** Somebody new, at whichever member, who wants the lock once. */
  async #passBy() {
    const serverUrl = [...urls].sort(() => Math.random() - 0.5);
    const locker = new LockDB(this.#service, { serverUrl, apiKey, lease });
    await this.#hold(this.#name(), { wait: PASSER_BY_WAIT_MS }, locker);
    await Promise.race([locker.close().catch(() => {}), setTimeout(1_000)]);
  }

  async #hold(name, terms, locker = this.#locker) {
    const askedMs = clockMs();
    let lease;
    try {
      lease = await locker.acquire(name, { wait: "forever", ...terms, signal: stopping.signal });
    } catch (error) {
      this.#failed(locker === this.#locker ? "wait" : "wait of a passer-by", error, askedMs);
      if (terms.detached !== undefined) history.unheard(name, this.#id, askedMs);
      return;
    }
    grants++;
    const fromMs = clockMs();
    const { token, ticket = null } = lease;
    const number = await register?.call("read", name, token);
    const untilMs = await belief(lease, Math.random() < longShare ? longMs : Math.random() * 30);
    if (typeof number === "number") await register?.call("write", name, token, number + 1);
    const [type, endsMs] =
      terms.detached === undefined
        ? ["session", null]
        : ["detached", askedMs + terms.detached * (1 - endSlack)];
    history.hold({ client: this.#id, type, name, token, ticket, askedMs, fromMs, untilMs, endsMs });
    await this.#release(name, token, () => lease.release());
    // Else it would stay in everybody's way.
    for (let tries = 0; terms.detached !== undefined && tries < 3; tries++)
      if (await this.#release(name, token, () => this.#locker.release(name, token))) break;
  }

  /** @returns whether there was an answer */
  async #release(name, token, release) {
    const fromMs = clockMs();
    const answered = history.ask({ kind: "release", name, client: this.#id, token });
    try {
      answered(await release());
      return true;
    } catch (error) {
      answered();
      this.#failed("release", error, fromMs);
      return false;
    }
  }

  /** Names that nobody else uses, and used once: what was acknowledged about them stays so. */
  async #oneTime() {
    const name = `${this.#service}/once/${this.#id}/${++this.#number}`;
    const fromMs = clockMs();
    try {
      if (hasHttp && this.#number % 2 === 0) return await this.#oneTimeOverHttp(name);
      const lease = await this.#locker.acquire(name, { detached: ONE_TIME_MS, signal: stopping.signal });
      if (this.#number % 4 === 1) history.kept(name, lease.token);
      else if (await lease.release()) history.freed(name);
    } catch (error) {
      this.#failed("one-time hold", error, fromMs);
    }
  }

  /** By whichever member, in one request that may break off. */
  async #oneTimeOverHttp(name) {
    const url = urls[Math.floor(Math.random() * urls.length)];
    const answer = await fetch(`${url}/v1/services/${this.#service}/acquire`, {
      method: "POST",
      headers: { authorization: `Bearer ${apiKey}` },
      body: JSON.stringify({ names: name, leaseMs: ONE_TIME_MS, waitMs: 0 }),
      signal: AbortSignal.timeout(8_000),
    });
    const body = await answer.json();
    if (answer.ok) history.kept(name, body.token);
    else
      throw Object.assign(new Error(body.error.message), {
        code: `HTTP ${answer.status} ${body.error.code}`,
      });
  }

  async #check() {
    const name = this.#name();
    const fromMs = clockMs();
    const answered = history.ask({ kind: "check", name, client: this.#id });
    try {
      answered(await this.#locker.check(name, { waitTimeoutInMs: 10_000 }));
    } catch (error) {
      this.#failed("check", error, fromMs);
    }
  }

  #failed(doing, error, fromMs) {
    if (!stopping.signal.aborted) history.trouble(doing, error.code ?? error.name, fromMs);
  }
}

/** The way to a register. Calls are answered in their order. */
class RegisterCalls {
  #socket;
  #answers;
  #last = Promise.resolve();

  constructor(port) {
    this.#socket = connect(port, "127.0.0.1").setNoDelay(true);
    this.#answers = createInterface({ input: this.#socket })[Symbol.asyncIterator]();
  }

  call(op, name, token, value) {
    this.#last = this.#last.then(async () => {
      this.#socket.write(`${JSON.stringify({ op, name, token, value })}\n`);
      return JSON.parse((await this.#answers.next()).value).result;
    });
    return this.#last;
  }
}

/** Works for so long, or until the lock cannot be believed in any more. @returns the last moment of belief */
async function belief(lease, workMs) {
  let lostMs = null;
  lease.signal.addEventListener("abort", () => {
    lostMs = clockMs();
  });
  const endMs = clockMs() + workMs;
  for (let trustedMs = clockMs(); ; ) {
    if (lostMs !== null) return Math.min(lostMs, trustedMs);
    const nowMs = clockMs();
    const { remainingMs } = lease;
    // This process may have stood still: then nobody has believed in anything since.
    if (remainingMs <= 0) return Math.min(nowMs, trustedMs);
    if (nowMs >= endMs || stopping.signal.aborted) return nowMs;
    trustedMs = nowMs + remainingMs;
    await setTimeout(Math.min(LOOK_MS, endMs - nowMs));
  }
}

const register = registerPort === null ? null : new RegisterCalls(registerPort);
const clients = services.map((service, at) => new LoadClient(`${id}.${at}`, service));
const start = () => {
  for (const client of clients) client.start();
};
if (!isClockWrong) start();

serveCalls({
  clock: () => clockMs(),
  /** Only then are times worth anything. */
  mend: (mended) => {
    mendClock(mended);
    start();
  },
  /** From now on other names are used. */
  period: ({ number }) => {
    period = number;
  },
  grants: () => grants,
  stop: async () => {
    stopping.abort();
    await Promise.all(clients.map((client) => client.stop()));
  },
});

async function again(betweenMs, work) {
  while (!stopping.signal.aborted) {
    await work();
    await setTimeout(betweenMs * (0.5 + Math.random()), undefined, { signal: stopping.signal }).catch(
      () => {},
    );
  }
}
