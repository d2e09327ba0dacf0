/** Where callers are. Everything that shows or counts the address of one asks here (A6). */
import { IncomingMessage } from "node:http";
import { type BlockList, isIP } from "node:net";
import { networkList } from "../webhooks/index.js";
import { requestId } from "./request-log.js";

/** More proxies than this in a row nobody has; a longer header is somebody's joke. */
const HOPS_MAX = 32;

/** What stands for an address that cannot be told, since the connection is gone. */
const UNKNOWN = "?";

/** Which proxies are believed when they say whom they speak for. */
export class TrustedProxies {
  readonly #networks: BlockList | null;

  /** @param networks addresses and networks with commas between; empty: nobody is believed */
  constructor(networks: string) {
    this.#networks = networks.trim() === "" ? null : networkList(networks);
  }

  /**
   * The address of whoever sent this. `X-Forwarded-For` is read from its end, where the nearest proxy has written, and
   * only for as long as the one that wrote is trusted: what stands further left anybody may have made up.
   */
  addressOf({ socket, headers }: IncomingMessage): string {
    let address = normalAddress(socket.remoteAddress ?? "") ?? UNKNOWN;
    const header = this.#networks === null ? undefined : headers["x-forwarded-for"];
    if (header === undefined) return address;
    const entries = String(header).split(",");
    for (let hop = 0; hop < HOPS_MAX && entries.length > 0 && this.#trusts(address); hop++) {
      const before = forwardedAddress(entries.pop()!);
      if (before === null) return address;
      address = before;
    }
    return address;
  }

  /** True when one of them has sent this, whoever has asked it to. */
  haveSent({ socket }: IncomingMessage): boolean {
    return this.#networks !== null && this.#trusts(normalAddress(socket.remoteAddress ?? "") ?? UNKNOWN);
  }

  #trusts(address: string): boolean {
    return address !== UNKNOWN && this.#networks!.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
  }
}

const NO_PROXIES = new TrustedProxies("");

/** A request of a server that believes some proxies. */
interface Addressed {
  readonly callerAddress?: string;
  readonly requestId?: string;
}

/** The class of requests of a server that believes these proxies, for `createServer`. */
export function requestClass(proxies: TrustedProxies): typeof IncomingMessage {
  return class extends IncomingMessage implements Addressed {
    #address: string | null = null;
    #id: string | null = null;

    /** Kept: when the connection is gone it cannot be asked any more. */
    get callerAddress(): string {
      this.#address ??= proxies.addressOf(this);
      return this.#address;
    }

    /** `X-Request-Id`, when a proxy that is believed has set it; else a new one. */
    get requestId(): string {
      this.#id ??= requestId(proxies.haveSent(this) ? this.headers["x-request-id"] : undefined);
      return this.#id;
    }
  };
}

/** The address of whoever sent a request, in one spelling: IPv4 inside of IPv6 is IPv4, and there is no zone. */
export function addressOf(request: IncomingMessage): string {
  return (request as Addressed).callerAddress ?? NO_PROXIES.addressOf(request);
}

/** What a request is called in the log, and in its answer. */
export function requestIdOf(request: IncomingMessage): string {
  return (request as Addressed).requestId ?? requestId(undefined);
}

/** True when the request came from that address itself, and not by a proxy that was believed. */
export function isDirect(request: IncomingMessage): boolean {
  return addressOf(request) === NO_PROXIES.addressOf(request);
}

/**
 * What is counted as one caller: an IPv4 address, or the /64 of an IPv6 address, since who has one of these has all of it.
 * @param address as `addressOf` gives it
 */
export function addressBucket(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = "", tail] = address.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array<string>(zeros).fill("0"), ...right];
  return `${groups.slice(0, 4).join(":")}::/64`;
}

/** One spelling for each address; null for what is none. */
function normalAddress(text: string): string | null {
  const bare = text.replace(/%.*$/, "");
  const family = isIP(bare);
  if (family !== 6) return family === 4 ? bare : null;
  const spelled = new URL(`http://[${bare}]`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(spelled) ?? [];
  if (high === undefined || low === undefined) return spelled;
  const [first, second] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [first >> 8, first & 255, second >> 8, second & 255].join(".");
}

/** An entry of `X-Forwarded-For`: an address, which some proxies write with a port. */
function forwardedAddress(entry: string): string | null {
  const [, bracketed, four] = /^(?:\[([^\]]+)\](?::\d{1,5})?|([\d.]+):\d{1,5})$/.exec(entry.trim()) ?? [];
  return normalAddress(bracketed ?? four ?? entry.trim());
}
