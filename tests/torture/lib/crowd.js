// Many native sessions in one process: each holds locks of its own, and may wait for one that somebody else has. They speak `lockdb.v1` by themselves,
// so that what they cost is the server's cost.
import { randomUUID } from "node:crypto";
import WebSocket from "ws";
import { clockMs, given, serveCalls } from "../../processes/mailbox.mjs";

const {
  url,
  service,
  apiKey,
  count,
  first = 0,
  leaseMs = 60_000,
  holdsEach = 0,
  waitersEach = 0,
  wanted = "wanted",
} = given;
/** A crowd at the start is not what is looked at here. */
const STARTS_AT_ONCE = 40;
/** A message of 64 KiB or less is not measured one by one. */
const REQUESTS_A_FRAME = 500;

class Member {
  granted = 0;
  queued = 0;
  /** Waiters that were granted, and when the first was. */
  served = 0;
  servedMs = null;
  /** What no session should hear. @type {string | null} */
  trouble = null;
  #number;
  #socket;
  #received = 0;
  #idLast = 0;
  #waiting = new Set();
  #onNews = () => {};

  constructor(number) {
    this.#number = number;
  }

  /** Resolves when it has all its locks and its places. */
  async start() {
    this.#socket = new WebSocket(`${url.replace("http", "ws")}/v1/connect`, "lockdb.v1", {
      headers: { authorization: `Bearer ${apiKey}` },
      perMessageDeflate: false,
    });
    this.#socket.on("message", (data) => {
      const messages = JSON.parse(data.toString("utf8"));
      this.#received += messages.length;
      for (const message of messages) this.#take(message);
      this.#onNews();
    });
    this.#socket.on("close", (code) => this.#fail(`closed with ${code}`));
    this.#socket.on("error", (error) => this.#fail(error.message));
    await new Promise((resolve, reject) => {
      this.#socket.once("open", resolve);
      this.#socket.once("close", () => reject(new Error(`no connection: ${this.trouble}`)));
    });
    const session = randomUUID();
    const hello = {
      service,
      client: session,
      session,
      connection: 1,
      resume: false,
      leaseMs,
      owner: `crowd/${this.#number}`,
    };
    this.#send([["hello", hello], ["sync"]]);
    for (let from = 0; from < holdsEach; from += REQUESTS_A_FRAME) {
      const some = Math.min(REQUESTS_A_FRAME, holdsEach - from);
      this.#send(
        Array.from({ length: some }, (_, at) => [
          "acquire",
          this.#id(),
          `held/${this.#number}/${from + at}`,
          0,
        ]),
      );
    }
    for (let at = 0; at < waitersEach; at++) this.wait();
    // Spread over the time between two.
    setTimeout(
      () => {
        this.#beat();
        setInterval(() => this.#beat(), leaseMs / 3);
      },
      (Math.random() * leaseMs) / 3,
    );
    await new Promise((resolve) => {
      this.#onNews = () => {
        if (this.trouble !== null || (this.granted >= holdsEach && this.queued >= waitersEach))
          resolve(undefined);
      };
      this.#onNews();
    });
  }

  wait() {
    const id = this.#id();
    this.#waiting.add(id);
    this.#send([["acquire", id, wanted, null]]);
  }

  /** One of its waiters leaves, and another one comes behind all others. */
  change() {
    const [id] = this.#waiting;
    if (id === undefined || this.trouble !== null) return;
    this.#waiting.delete(id);
    this.#send([["cancel", id]]);
    this.wait();
  }

  /** What its connection has not been told it was told: it begins each frame, so that nothing is kept for it. */
  #send(messages) {
    if (this.#socket.readyState === WebSocket.OPEN)
      this.#socket.send(JSON.stringify([this.#received, ...messages]));
  }

  #beat() {
    this.#send([["heartbeat", this.#id()]]);
  }

  #id() {
    return ++this.#idLast;
  }

  #take([kind, id, token, ...rest]) {
    if (kind === "granted" && this.#waiting.delete(id)) {
      this.served++;
      this.servedMs ??= clockMs();
      this.#send([["release", this.#id(), token]]);
    } else if (kind === "granted") this.granted++;
    else if (kind === "queued") this.queued++;
    else if (["lost", "ended", "error"].includes(kind))
      this.#fail(JSON.stringify([kind, id, token, ...rest]));
  }

  #fail(what) {
    this.trouble ??= what;
    this.#onNews();
  }
}

const members = Array.from({ length: count }, (_, at) => new Member(first + at));
let isReady = false;
const ready = (async () => {
  let next = 0;
  const startSome = async () => {
    for (let at = next++; at < count; at = next++) await members[at].start();
  };
  await Promise.all(Array.from({ length: STARTS_AT_ONCE }, startSome));
  isReady = true;
})();
const sum = (what) => members.reduce((all, member) => all + member[what], 0);

serveCalls({
  /** Whether all of them have what they came for; waits a while for it. */
  ready: async () => {
    await Promise.race([ready, new Promise((resolve) => setTimeout(resolve, 1_000))]);
    return isReady;
  },
  state: () => ({
    granted: sum("granted"),
    queued: sum("queued"),
    served: sum("served"),
    servedMs: members.find(({ servedMs }) => servedMs !== null)?.servedMs ?? null,
    troubles: members.flatMap(({ trouble }) => trouble ?? []).slice(0, 5),
    troubled: members.filter(({ trouble }) => trouble !== null).length,
  }),
  /** Some waiters leave, and come again. */
  change: ({ many }) => {
    for (let at = 0; at < many; at++) members[Math.floor(Math.random() * count)].change();
  },
});
