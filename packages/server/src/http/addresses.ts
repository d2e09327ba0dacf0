/** Where callers are. Everything that shows or counts the address of one asks here (A6). */
import { createHash, timingSafeEqual } from "node:crypto";
import { IncomingMessage } from "node:http";
import { type BlockList, isIP } from "node:net";
import { networkList } from "../webhooks/index.js";
import { FORWARDED_SECRET } from "./cluster.js";
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
  readonly isPassedOn?: boolean;
}

/**
 * The class of requests of a server that believes these proxies, for `createServer`.
 * @param memberSecret what other members of its cluster show, who are believed as well; null: there are none
 */
export function requestClass(
  proxies: TrustedProxies,
  memberSecret: (() => string) | null = null,
): typeof IncomingMessage {
  return class extends IncomingMessage implements Addressed {
    #address: string | null = null;
    #id: string | null = null;
    #isPassedOn: boolean | null = null;

    /** Kept: when the connection is gone it cannot be asked any more. */
    get callerAddress(): string {
      const told = this.isPassedOn ? forwardedAddress(String(this.headers["x-forwarded-for"])) : null;
      this.#address ??= told ?? proxies.addressOf(this);
      return this.#address;
    }

    /** `X-Request-Id`, when a proxy or a member that is believed has set it; else a new one. */
    get requestId(): string {
      const isBelieved = this.isPassedOn || proxies.haveSent(this);
      this.#id ??= requestId(isBelieved ? this.headers["x-request-id"] : undefined);
      return this.#id;
    }

    /** True when another member has passed it on, and has shown that it is one. */
    get isPassedOn(): boolean {
      const shown = this.headers[FORWARDED_SECRET];
      this.#isPassedOn ??=
        memberSecret !== null && typeof shown === "string" && isSame(shown, memberSecret());
      return this.#isPassedOn;
    }
  };
}

/** Compares in a time that tells nothing. */
function isSame(shown: string, secret: string): boolean {
  const [one, other] = [shown, secret].map((text) => createHash("sha256").update(text).digest());
  return timingSafeEqual(one!, other!);
}

/** True when another member of the cluster has passed a request on, which is believed in what it says of its caller. */
export function isPassedOn(request: IncomingMessage): boolean {
  return (request as Addressed).isPassedOn === true;
}

/** The address of whoever sent a request, in one spelling: IPv4 inside of IPv6 is IPv4, and there is no zone. */
export function addressOf(request: IncomingMessage): string {
  return (request as Addressed).callerAddress ?? NO_PROXIES.addressOf(request);
}

/** What a request is called in the log, and in its answer. */
export function requestIdOf(request: IncomingMessage): string {
  return (request as Addressed).requestId ?? requestId(undefined);
}

/** The port at that address, where no proxy that was believed is between; else null. */
export function portOf(request: IncomingMessage): number | null {
  if (isPassedOn(request)) {
    const [, port] = /[\]\d]:(\d{1,5})$/.exec(String(request.headers["x-forwarded-for"])) ?? [];
    return port === undefined ? null : Number(port);
  }
  const isDirect = addressOf(request) === NO_PROXIES.addressOf(request);
  return isDirect ? (request.socket.remotePort ?? 0) : null;
}

/** What proxies say of callers. A member that passes a request on says it anew. */
export const CALLER_HEADERS = ["forwarded", "x-forwarded-for", "x-request-id"] as const;

/** The caller as a member tells it: address and port, or the address alone where it is not the caller's own. */
export function callerHeaders(request: IncomingMessage): Readonly<Record<string, string>> {
  const [address, port] = [addressOf(request), portOf(request)];
  const host = isIP(address) === 6 ? `[${address}]` : address;
  return {
    "x-forwarded-for": port === null ? address : `${host}:${port}`,
    "x-request-id": requestIdOf(request),
  };
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
