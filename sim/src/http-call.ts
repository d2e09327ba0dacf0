import type { Loop } from "../../packages/server/dist/loop/loop.js";
import type { Recipient } from "../../packages/server/dist/loop/recipient.js";
import { ServiceKey } from "../../packages/server/dist/loop/service.js";
import type { Process } from "./process.js";
import type { Listening } from "./server-host.js";
import type { Wire } from "./wire.js";

/** How long after a grant the end of the connection may still mean that nobody read it. */
const UNREAD_MS = 1_000;

/** What a caller sends on its connection once it has read the answer: it would ask for more, or close in good order. */
export const READ = "read";

type Command = Parameters<Loop["submit"]>[1];

/** The server's side of one HTTP call: its command, its answer, and what a caller that hangs up leaves behind (Q7). */
export class HttpCall implements Recipient {
  readonly #wire: Wire;
  readonly #process: Process;
  readonly #loop: Loop;
  readonly #account: string;
  readonly #watch: Listening;
  readonly #address: string;
  #service = "";
  #key: ServiceKey | null = null;
  #answered = false;
  #settled = false;

  constructor(wire: Wire, process: Process, loop: Loop, account: string, watch: Listening) {
    this.#wire = wire;
    this.#process = process;
    this.#loop = loop;
    this.#account = account;
    this.#watch = watch;
    this.#address = loop.attach(this);
    wire.server.received = (item) => {
      if (item.kind !== "data") return;
      if (item.text === READ) this.#read();
      else this.#request(JSON.parse(item.text));
    };
    wire.server.closed = () => this.#closed();
  }

  get service(): ServiceKey | null {
    return this.#key;
  }

  receive(message: readonly unknown[]): void {
    if (this.#answered) return;
    this.#answered = true;
    const text = JSON.stringify([message]);
    this.#watch.audible(this.#service, null, text, this.#process.localMs);
    this.#wire.down.send({ kind: "data", text }, this.#process.localMs);
    if (message[0] === "granted") return void this.#process.setTimer(() => this.#read(), UNREAD_MS);
    this.#settled = true;
    this.#loop.detach(this.#address);
  }

  flush(): void {}

  #request(body: Record<string, unknown>): void {
    const from = { session: null, address: this.#address, id: 1 };
    this.#service = body.service as string;
    this.#key = new ServiceKey(this.#account, this.#service);
    const { service: _service, ...rest } = body;
    this.#loop.submit(this.#key!, { ...rest, ...from } as unknown as Command);
  }

  /** The connection has ended. Before anybody can have read a grant, that grant is taken back. */
  #closed(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#loop.detach(this.#address);
    if (this.#key === null) return;
    this.#loop.submit(this.#key!, {
      kind: "cancel",
      session: null,
      address: this.#address,
      id: 1,
      token: null,
    });
  }

  #read(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#loop.submit(this.#key!, { kind: "delivered", address: this.#address });
    this.#loop.detach(this.#address);
  }
}
