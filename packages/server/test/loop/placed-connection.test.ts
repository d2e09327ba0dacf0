import { type Hello, type ServerMessage, WIRE_LIMITS } from "lockdb/protocol";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ClientSocket, Connection, type SocketListener } from "../../src/loop/index.js";
import { encodeRecord, openMemoryStore } from "../../src/store/index.js";
import { ROOT_CALLER } from "../root-caller.js";
import { claimed, Member, serviceOf, Talker, turns } from "./members.js";

const KEY = serviceOf("reports");
const THERE = { url: "http://two:2" };
const HELLO: Hello = {
  service: KEY.id,
  client: "client-of-the-test",
  session: "session-of-the-test",
  connection: 1,
  resume: false,
  leaseMs: 10_000,
  owner: "ann",
};
const GOING_AWAY = 1001;

let member: Member;
beforeEach(async () => {
  member = await Member.start(openMemoryStore());
});
afterEach(() => member.loop.stop());

/** A connection, its client's frames, and what it is told. */
class Socket implements ClientSocket {
  readonly heard: ServerMessage[] = [];
  readonly closes: (readonly [number, string])[] = [];
  readonly bufferedAmount = 0;
  #listener: SocketListener | null = null;

  constructor() {
    new Connection(this, member.loop, ROOT_CALLER);
  }

  /** But for who the members are, which those who wait hear, too. */
  get news(): readonly ServerMessage[] {
    return this.heard.filter(([kind]) => kind !== "members");
  }

  say(...messages: readonly (readonly unknown[])[]): void {
    this.sayText(JSON.stringify([this.heard.length, ...messages]));
  }

  sayText(text: string): void {
    this.#listener!.message(text, Buffer.byteLength(text));
  }

  listen(listener: SocketListener): void {
    this.#listener = listener;
  }

  send(text: string): void {
    this.heard.push(...(JSON.parse(text) as ServerMessage[]));
  }

  close(code: number, reason: string): void {
    this.closes.push([code, reason]);
    this.terminate();
  }

  terminate(): void {
    this.#listener!.closed();
  }
}

test("[R3ka] a client that comes to a member without its service is told where it is", async () => {
  member.place = THERE;
  const socket = new Socket();
  socket.say(["hello", HELLO], ["sync"], ["acquire", 1, "disk", 0]);
  await turns();
  expect(socket.heard).toEqual([["moved", THERE.url, member.memberUrls]]);
  expect(socket.closes).toEqual([[GOING_AWAY, "MOVED"]]);
  expect(member.loop.services.census()).toMatchObject({ services: 0 });
});

test("[R3kb] while nobody has a service its clients wait, and what they say is taken in order when somebody has", async () => {
  member.place = "nowhere";
  const [socket, other] = [new Socket(), new Socket()];
  socket.say(["hello", HELLO], ["sync"]);
  socket.say(["acquire", 1, "disk", 0], ["acquire", 2, "tape", 0]);
  socket.say(["release", 3, 1]);
  other.say(["hello", { ...HELLO, session: "another-session-here" }]);
  member.changed();
  await turns();
  const members = ["members", member.memberUrls];
  expect([socket.heard, other.heard]).toEqual([[members], [members]]);
  for (const each of [socket, other]) each.heard.length = 0;
  member.place = "here";
  member.changed();
  member.changed();
  await turns();
  expect(
    socket.heard.map(([kind, about]) => (typeof about === "number" ? `${kind} ${about}` : kind)),
  ).toEqual(["welcome", "members", "granted 1", "granted 2", "done 3"]);
  expect(socket.heard[1]).toEqual(["members", member.memberUrls]);
  socket.heard.length = 0;
  member.changed();
  expect(socket.heard).toEqual([]);
  member.memberUrls = [...member.memberUrls, "http://three:3"];
  member.changed();
  expect(socket.heard).toEqual([["members", member.memberUrls]]);
});

test("[R3kc] who waits for a service is told when another member has it", async () => {
  member.place = "nowhere";
  const socket = new Socket();
  socket.say(["hello", HELLO], ["sync"]);
  member.place = THERE;
  member.changed();
  expect(socket.news).toEqual([["moved", THERE.url, member.memberUrls]]);
  // What it has said is not taken when the service comes here after all.
  member.place = "here";
  member.changed();
  await turns();
  expect(member.loop.services.census()).toMatchObject({ services: 0 });
});

test("[N3ka] who waits for a service may not say ever more, and not wait for ever", async () => {
  member.place = "nowhere";
  const [socket, silent] = [new Socket(), new Socket()];
  for (const each of [socket, silent]) each.say(["hello", HELLO]);
  const long = "x".repeat(WIRE_LIMITS.messageBytesMax);
  for (let bytes = 0; bytes <= 2 * WIRE_LIMITS.frameBytesMax; bytes += long.length)
    socket.say(["acquire", 1, long, 0]);
  expect(socket.news.map(([kind, code]) => [kind, code])).toEqual([["ended", "UNAVAILABLE"]]);
  expect(socket.closes).toEqual([[GOING_AWAY, "UNAVAILABLE"]]);
  await member.pass(10_050);
  expect(silent.closes).toEqual([[GOING_AWAY, "UNAVAILABLE"]]);
});

test("[R3kd] when a service is handed over its clients are told where it is, and their connections end", async () => {
  const [socket, waiting] = [new Socket(), new Socket()];
  socket.say(["hello", HELLO], ["sync"], ["acquire", 1, "disk", 0]);
  await turns();
  expect(socket.heard.at(-1)![0]).toBe("granted");
  socket.heard.length = 0;
  const owner = { key: "owner/07", value: encodeRecord("owner/07", { member: "m2" }) };
  const over = member.loop.handOver(
    () => true,
    [owner],
    () => {
      member.place = THERE;
    },
  );
  socket.sayText('[3,["heartbeat",2]]');
  member.place = "nowhere";
  waiting.say(["hello", { ...HELLO, session: "another-session-here" }]);
  await over;
  await turns();
  for (const each of [socket, waiting]) {
    expect(each.news).toEqual([["moved", THERE.url, member.memberUrls]]);
    expect(each.closes).toEqual([[GOING_AWAY, "MOVED"]]);
  }
});

test("[R3kf] who was led to a member by the change of owners that gave it his service is taken where he waits", async () => {
  const store = openMemoryStore();
  const [first, second] = [await Member.start(store), await Member.start(store)];
  const other = member;
  const ann = new Talker(first, KEY, "ann");
  ann.hello();
  ann.acquire("disk");
  const token = Number((await ann.next("granted"))[2]);
  member = first;
  const left = new Socket();
  left.say(["hello", { ...HELLO, session: "another-session-here" }], ["sync"]);
  const owner = { key: "owner/07", value: encodeRecord("owner/07", { member: "m2" }) };
  await first.loop.handOver(
    () => true,
    [owner],
    () => {
      first.place = { ...THERE, epoch: 7 };
    },
  );
  expect(left.heard.at(-1)).toEqual(["moved", THERE.url, first.memberUrls, 7]);
  member = second;
  second.place = "nowhere";
  const sockets = [7, 6, undefined].map((epoch, at) => {
    const socket = new Socket();
    const [client, session] =
      at === 0 ? ["client-ann", "session-ann"] : ["client-of-the-test", `session-number-${at}`];
    const hello = { ...HELLO, client, session, connection: 2, resume: at === 0 };
    socket.say(["hello", epoch === undefined ? hello : { ...hello, epoch }]);
    if (at === 0) socket.say(["hold", token, "disk"]);
    socket.say(["sync"]);
    return socket;
  });
  second.epoch = 7;
  await second.takeUp((await claimed(store)).services, [], 0, [owner]);
  second.place = "here";
  second.changed();
  await turns();
  const [led, older, unled] = sockets;
  expect(led!.news[0]).toMatchObject(["welcome", { resumed: true }]);
  expect(led!.closes).toEqual([]);
  for (const each of [older!, unled!]) expect(each.news).toEqual([["moved", second.url, second.memberUrls]]);
  expect(second.loop.services.statsOf(KEY)).toMatchObject({ holds: 1 });
  await Promise.all([first.loop.stop(), other.loop.stop()]);
});

test("[R3ke] who was accepted before a service was taken up comes again: what he says may be older than what he has", async () => {
  const store = openMemoryStore();
  const [first, second] = [await Member.start(store), await Member.start(store)];
  const other = member;
  member = second;
  second.place = THERE;
  // Accepted, and the first that he says is on its way for long. Meanwhile he is elsewhere, and is granted a lock.
  const [late, waiting] = [new Socket(), new Socket()];
  const ann = new Talker(first, KEY, "ann");
  ann.hello();
  ann.acquire("disk");
  const token = Number((await ann.next("granted"))[2]);
  const owner = { key: "owner/07", value: encodeRecord("owner/07", { member: "m2" }) };
  await first.loop.handOver(
    () => true,
    [owner],
    () => {},
  );
  second.place = "nowhere";
  const hello = { ...HELLO, client: "client-ann", session: "session-ann", resume: true };
  waiting.say(["hello", { ...hello, connection: 1 }], ["sync"]);
  await second.takeUp((await claimed(store)).services, [], 0, [owner]);
  second.place = "here";
  second.changed();
  late.say(["hello", { ...hello, connection: 1 }], ["sync"]);
  await turns();
  for (const each of [late, waiting]) {
    expect(each.news).toEqual([["moved", second.url, second.memberUrls]]);
    expect(each.closes).toEqual([[GOING_AWAY, "MOVED"]]);
  }
  const again = new Socket();
  again.say(["hello", { ...hello, connection: 2 }], ["hold", token, "disk"], ["sync"]);
  await turns();
  expect(again.heard[0]).toMatchObject(["welcome", { resumed: true }]);
  expect(second.loop.services.statsOf(KEY)).toMatchObject({ holds: 1, sessions: 1 });
  await Promise.all([first.loop.stop(), other.loop.stop()]);
});
