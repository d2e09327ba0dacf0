import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AddressPolicy } from "../../src/webhooks/addresses.js";
import { type Lookup, lookupBy } from "../../src/webhooks/lookup.js";
import { post } from "../../src/webhooks/post.js";
import { Receiver } from "./receiver.js";

const A = 1;
const AAAA = 28;
const NO_SUCH_NAME = 3;

/** What a name server says: addresses, an error's number, or nothing at all. */
type Said = readonly string[] | number | null;

/** A name server on this machine that says what the test likes. */
class NameServer {
  readonly asked: string[] = [];
  say: (name: string, kind: "A" | "AAAA") => Said = () => NO_SUCH_NAME;
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("message", (query, from) => this.#answer(query, from));
  }

  static async open(): Promise<NameServer> {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    return new NameServer(socket);
  }

  get lookup(): Lookup {
    return lookupBy([`127.0.0.1:${this.#socket.address().port}`]);
  }

  close(): void {
    this.#socket.close();
  }

  #answer(query: Buffer, { port, address }: RemoteInfo): void {
    const labels: string[] = [];
    let at = 12;
    for (; query[at] !== 0; at += 1 + query[at]!)
      labels.push(query.toString("latin1", at + 1, at + 1 + query[at]!));
    const type = query.readUInt16BE(at + 1);
    const [name, kind] = [labels.join("."), type === A ? "A" : "AAAA"] as const;
    this.asked.push(`${kind} ${name}`);
    const said = this.say(name, kind);
    if (said === null) return;
    const addresses = typeof said === "number" ? [] : said;
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8180 | (typeof said === "number" ? said : 0), 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(addresses.length, 6);
    const records = addresses.map((each) => {
      const bytes = type === A ? Buffer.from(each.split(".").map(Number)) : bytesOf6(each);
      const record = Buffer.alloc(12);
      record.writeUInt16BE(0xc00c, 0);
      record.writeUInt16BE(type === A ? A : AAAA, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt16BE(bytes.length, 10);
      return Buffer.concat([record, bytes]);
    });
    this.#socket.send(Buffer.concat([head, query.subarray(12, at + 5), ...records]), port, address);
  }
}

/** Of an address that is written out. */
function bytesOf6(address: string): Buffer {
  return Buffer.from(
    address.split(":").flatMap((part) => [Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16) & 255]),
  );
}

let names: NameServer;

beforeEach(async () => {
  names = await NameServer.open();
});

afterEach(() => names.close());

const never = new AbortController().signal;

describe("a name", () => {
  test("[C5cv] has all the addresses that DNS gives, of both kinds, and each is asked for once", async () => {
    names.say = (_name, kind) => (kind === "A" ? ["192.0.2.1", "192.0.2.2"] : ["2001:db8:0:0:0:0:0:7"]);
    expect([...(await names.lookup("hook.example", never))].sort()).toEqual([
      "192.0.2.1",
      "192.0.2.2",
      "2001:db8::7",
    ]);
    expect(names.asked.sort()).toEqual(["A hook.example", "AAAA hook.example"]);
  });

  test("[C5cw] of one kind is enough; of none, it is unknown", async () => {
    names.say = (_name, kind) => (kind === "A" ? ["192.0.2.1"] : []);
    expect(await names.lookup("four.example", never)).toEqual(["192.0.2.1"]);
    names.say = (_name, kind) => (kind === "AAAA" ? ["2001:db8:0:0:0:0:0:7"] : NO_SUCH_NAME);
    expect(await names.lookup("six.example", never)).toEqual(["2001:db8::7"]);
    names.say = () => NO_SUCH_NAME;
    await expect(names.lookup("none.example", never)).rejects.toMatchObject({ code: "ENOTFOUND" });
  });

  test("[C5cx] of which no name server tells is given up when its attempt is", async () => {
    names.say = () => null;
    const controller = new AbortController();
    const asking = names.lookup("silent.example", controller.signal);
    while (names.asked.length < 2) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await expect(asking).rejects.toMatchObject({ code: "ECANCELLED" });
  });

  test("[C5cy] that is another at each question never leads to where it must not", async () => {
    const inside = await Receiver.open();
    const outside = await Receiver.open({ port: inside.port, host: "127.0.0.2" });
    const policy = new AddressPolicy({ allowPrivate: false, allowed: "127.0.0.2" });
    let count = 0;
    // Allowed when it is checked, and this server itself ever after.
    names.say = (_name, kind) => (kind === "AAAA" ? [] : ++count % 2 === 1 ? ["127.0.0.2"] : ["127.0.0.1"]);
    const message = { url: inside.url("/", "rebinding.example"), headers: {}, body: "{}" };
    const options = { policy, lookup: names.lookup, connectMs: 5_000, totalMs: 5_000 };
    const found = [];
    for (let attempt = 0; attempt < 4; attempt++) found.push((await post(message, options, never)).status);
    expect(found).toEqual([200, null, 200, null]);
    expect([count, outside.received.length, inside.connectionCount]).toEqual([4, 2, 0]);
    await Promise.all([inside.close(), outside.close()]);
  });
});
