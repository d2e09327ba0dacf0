import type { ServerMessage } from "lockdb/protocol";
import type { Answer } from "../engine/index.js";
import type { Placement } from "./placement.js";
import type { Recipient } from "./recipient.js";
import type { ServiceKey } from "./service.js";
import { movedTo } from "./whereabouts.js";

/** All who are told something, by their addresses. What a turn has for one of them leaves at once, at its end. */
export class Recipients {
  readonly #byAddress = new Map<string, Recipient>();
  #dirty = new Set<Recipient>();
  #addresses = 0;

  /** A new address, never used before. */
  attach(recipient: Recipient): string {
    const address = `a${++this.#addresses}`;
    this.#byAddress.set(address, recipient);
    return address;
  }

  detach(address: string): void {
    this.#byAddress.delete(address);
  }

  /** It was told something elsewhere. */
  told(recipient: Recipient): void {
    this.#dirty.add(recipient);
  }

  deliver(answers: readonly Answer[]): void {
    let address: string | null = null;
    let recipient: Recipient | undefined;
    for (const { to, message } of answers) {
      // Mostly one after the other goes to the same.
      if (to !== address) {
        address = to;
        recipient = this.#byAddress.get(to);
        if (recipient !== undefined) this.#dirty.add(recipient);
      }
      recipient?.receive(message);
    }
  }

  flush(): void {
    if (this.#dirty.size === 0) return;
    const dirty = this.#dirty;
    this.#dirty = new Set();
    for (const recipient of dirty) recipient.flush();
  }

  /** Ends what everybody is in the middle of, or with a key everybody of that service. They come back. */
  end(text: string, service?: ServiceKey): void {
    const message: ServerMessage = ["ended", "UNAVAILABLE", text];
    for (const [to, recipient] of [...this.#byAddress]) {
      if (service === undefined || recipient.service?.prefix === service.prefix)
        this.deliver([{ to, message }]);
    }
    this.flush();
  }

  /** Tells everybody who speaks with one of these services where it is now. Of one that is nowhere yet they come back, and ask. */
  moved(isIn: (service: ServiceKey) => boolean, placement: Placement | undefined): void {
    for (const [to, { service }] of [...this.#byAddress]) {
      if (service === null || !isIn(service)) continue;
      const place = placement?.placeOf(service);
      const message: ServerMessage =
        typeof place === "object"
          ? movedTo(place, placement!)
          : ["ended", "UNAVAILABLE", "The service is on its way to another server. Try again soon."];
      this.deliver([{ to, message }]);
    }
    this.flush();
  }
}
