import { BlockList, isIP } from "node:net";

/** What operators open beyond the public internet. */
export interface AddressOptions {
  /** Loopback, private (RFC 1918), shared (RFC 6598) and unique local addresses. */
  readonly allowPrivate: boolean;
  /** Networks and addresses that are allowed whatever they are, with commas between; may be empty. */
  readonly allowed: string;
}

/** Where webhooks may go (C5). Whoever may lock may name a URL, so what is not public is closed unless it was opened. */
export class AddressPolicy {
  readonly #allowPrivate: boolean;
  readonly #allowed: BlockList;

  constructor({ allowPrivate, allowed }: AddressOptions) {
    this.#allowPrivate = allowPrivate;
    this.#allowed = networkList(allowed);
  }

  /** Why nothing may be sent to this IP address, or null. */
  problem(address: string): string | null {
    const kind = kindOf(address);
    if (kind === "public" || (kind === "private" && this.#allowPrivate)) return null;
    if (kind !== "none" && this.#allowed.check(address, familyOf(address))) return null;
    return `${address.slice(0, 64)} is no public address. An operator may open it: see --webhook-allow.`;
  }

  /** The same for a URL that has an address instead of a name; null for one that has a name. */
  urlProblem(url: string): string | null {
    const host = hostOf(new URL(url));
    if (isIP(host) !== 0) return this.problem(host);
    return isLoopbackName(host) ? this.problem("127.0.0.1") : null;
  }
}

/** The host of a URL, an IPv6 address without its brackets. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

/** Names that mean this machine, whatever DNS says (RFC 6761). */
export function isLoopbackName(host: string): boolean {
  return /(^|\.)localhost\.?$/i.test(host);
}

/**
 * Networks and addresses in a text, with commas between.
 * @throws Error that names what is none
 */
export function networkList(text: string): BlockList {
  const list = new BlockList();
  const entries = text.split(",").map((entry) => entry.trim());
  for (const entry of entries.filter((each) => each !== "")) {
    const [, address, prefix] = /^([0-9A-Fa-f.:]+)(?:\/(\d{1,3}))?$/.exec(entry) ?? [];
    const bits = isIP(address ?? "") === 4 ? 32 : isIP(address ?? "") === 6 ? 128 : -1;
    const length = prefix === undefined ? bits : Number(prefix);
    if (bits === -1 || length > bits) {
      throw new Error(`must be networks such as 10.1.0.0/16 or 192.0.2.7, unlike ${JSON.stringify(entry)}.`);
    }
    list.addSubnet(address!, length, familyOf(address!));
  }
  return list;
}

type Kind = "public" | "private" | "special" | "none";

function kindOf(address: string): Kind {
  const family = isIP(address);
  // One that names an interface, as in fe80::1%eth0, is none of the internet.
  if (family === 0 || address.includes("%")) return "none";
  if (family === 4) {
    if (PRIVATE_4.check(address)) return "private";
    return SPECIAL_4.check(address) ? "special" : "public";
  }
  if (PRIVATE_6.check(address, "ipv6")) return "private";
  return GLOBAL_6.check(address, "ipv6") && !SPECIAL_6.check(address, "ipv6") ? "public" : "special";
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIP(address) === 6 ? "ipv6" : "ipv4";
}

const PRIVATE_4 = networkList("127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10");

/** IANA's special-purpose registry: this network, link-local, protocols, documentation, 6to4, tests, multicast, reserved. */
const SPECIAL_4 = networkList(
  "0.0.0.0/8, 169.254.0.0/16, 192.0.0.0/24, 192.0.2.0/24, 192.88.99.0/24, 198.18.0.0/15, 198.51.100.0/24, " +
    "203.0.113.0/24, 224.0.0.0/4, 240.0.0.0/4",
);

const PRIVATE_6 = networkList("::1, fc00::/7");

/**
 * All of IPv6 that is given to anybody. What is not in it cannot be public: unspecified, IPv4-mapped (::ffff:0:0/96),
 * IPv4-compatible, NAT64 (64:ff9b::/96), link-local, site-local, multicast, and what will be assigned some day.
 */
const GLOBAL_6 = networkList("2000::/3");

/** Inside of that: protocols and Teredo, documentation, and 6to4, which has an IPv4 address in it. */
const SPECIAL_6 = networkList("2001::/23, 2001:db8::/32, 2002::/16, 3fff::/20");
