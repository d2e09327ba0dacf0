// Many sessions that speak `lockdb.v1` by themselves. Each holds a lock of its own and sends heartbeats, whatever comes
// back; none gives its connection up.
import { randomUUID } from "node:crypto";
import WebSocket from "ws";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, service, leaseMs, names } = given;
const BEAT_MS = leaseMs / 3;

/** A crowd at the start is not what is looked at here. */
const STARTS_AT_ONCE = 20;
const FAILED = ["failed"];

class RawHolder {
  token = null;
  /** What no healthy session should hear. */
  trouble = null;
  /** When the last message left that was answered and renews the session; when it heard of its end; when its connection was closed. */
  renewedMs = null;
  endedMs = null;
  closedMs = null;
  #name;
  #socket;
  #received = 0;
  #idNext = 1;
  /** By request id, who waits for the answer. */
  #asked = new Map();
  /** Who waits for the answer of the next heartbeat. */
  #nextBeat = [];

  constructor(name) {
    this.#name = name;
  }

  /** Opens its session, takes its lock, and begins to send heartbeats. */
  async start() {
    this.#socket = new WebSocket(`${serverUrl.replace("http", "ws")}/v1/connect`, "lockdb.v1", {
      headers: { authorization: `Bearer ${apiKey}` },
      perMessageDeflate: false,
    });
    this.#socket.on("message", (data) => {
      const messages = JSON.parse(data.toString("utf8"));
      this.#received += messages.length;
      for (const message of messages) this.#take(message);
    });
    this.#socket.on("close", (code) => {
      this.closedMs = clockMs();
      this.#fail(`closed with ${code}`);
    });
    this.#socket.on("error", (error) => this.#fail(error.message));
    await new Promise((resolve) => this.#socket.once("open", resolve));
    const session = randomUUID();
    this.renewedMs = clockMs();
    const hello = { service, client: session, session, connection: 1, resume: false, leaseMs, owner: "raw" };
    this.#send([["hello", hello], ["sync"]]);
    [, , this.token] = await this.#ask("acquire", this.#name, 0);
    setInterval(async () => {
      const waiting = this.#nextBeat.splice(0);
      await this.beat();
      for (const resolve of waiting) resolve();
    }, BEAT_MS);
  }

  async beat() {
    const sentMs = clockMs();
    const [kind] = await this.#ask("heartbeat");
    if (kind === "done") this.renewedMs = sentMs;
  }

  get unansweredCount() {
    return this.#asked.size;
  }

  /** Until the next heartbeat whose time comes is answered. */
  renewed() {
    return new Promise((resolve) => this.#nextBeat.push(resolve));
  }

  /** True when the server says that this was what ended the hold. */
  async release() {
    const [kind, , value] = await this.#ask("release", this.token);
    return kind === "done" && value;
  }

  #ask(kind, ...fields) {
    if (this.trouble !== null) return FAILED;
    const id = this.#idNext++;
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      this.#send([[kind, id, ...fields]]);
    });
  }

  #send(messages) {
    this.#socket.send(JSON.stringify([this.#received, ...messages]));
  }

  #take(message) {
    const [kind, id] = message;
    if (kind !== "granted" && kind !== "done") {
      if (kind === "ended") this.endedMs = clockMs();
      if (kind !== "welcome") this.#fail(JSON.stringify(message));
      return;
    }
    this.#asked.get(id)(message);
    this.#asked.delete(id);
  }

  /** Nobody waits any longer: the test asks for troubles. */
  #fail(what) {
    this.trouble ??= `${this.#name}: ${what}`;
    for (const resolve of this.#asked.values()) resolve(FAILED);
    this.#asked.clear();
  }
}

const holders = names.map((name) => new RawHolder(name));
const all = (work) => Promise.all(holders.map(work));
for (let at = 0; at < holders.length; at += STARTS_AT_ONCE) {
  await Promise.all(holders.slice(at, at + STARTS_AT_ONCE).map((holder) => holder.start()));
}

serveCalls({
  tokens: () => holders.map(({ token }) => token),
  /** Each session is renewed at once. Gives when all were. */
  beat: async () => {
    await all((holder) => holder.beat());
    return clockMs();
  },
  /** Until so many more heartbeats of each session have come in their time, and were answered. */
  renewals: async ({ count }) => {
    for (let at = 0; at < count; at++) await all((holder) => holder.renewed());
  },
  unanswered: () => holders.map(({ unansweredCount }) => unansweredCount),
  /** What has become of each. */
  ends: () =>
    holders.map(({ trouble, renewedMs, endedMs, closedMs }) => ({ trouble, renewedMs, endedMs, closedMs })),
  troubles: () => holders.flatMap(({ trouble }) => trouble ?? []),
  release: () => all((holder) => holder.release()),
});
notify("ready");
