import { describe, expect, test } from "vitest";
import { AddressPolicy } from "../../src/webhooks/addresses.js";

const plain = new AddressPolicy({ allowPrivate: false, allowed: "" });
const open = new AddressPolicy({ allowPrivate: true, allowed: "" });

/** First and last addresses of what is public, right beside what is not. */
const PUBLIC = [
  "1.0.0.0",
  "8.8.8.8",
  "9.255.255.255",
  "11.0.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "126.255.255.255",
  "128.0.0.0",
  "169.253.255.255",
  "169.255.0.0",
  "172.15.255.255",
  "172.32.0.0",
  "192.0.1.0",
  "192.167.255.255",
  "192.169.0.0",
  "198.17.255.255",
  "198.20.0.0",
  "223.255.255.255",
  "2001:200::1",
  "2001:4860:4860::8888",
  "2003::1",
  "2606:4700::1111",
  "3ffe::1",
];

const PRIVATE = [
  "10.0.0.0",
  "10.255.255.255",
  "100.64.0.0",
  "100.127.255.255",
  "127.0.0.0",
  "127.0.0.1",
  "127.255.255.255",
  "172.16.0.0",
  "172.31.255.255",
  "192.168.0.0",
  "192.168.255.255",
  "::1",
  "0:0:0:0:0:0:0:1",
  "fc00::",
  "fd12:3456:789a::1",
  "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

const SPECIAL: Readonly<Record<string, readonly string[]>> = {
  unspecified: ["0.0.0.0", "0.255.255.255", "::", "0:0:0:0:0:0:0:0"],
  "link-local, where clouds keep credentials": [
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "fe80::1",
    "febf::1",
  ],
  "that of a protocol": ["192.0.0.0", "192.0.0.170", "192.0.0.255", "2001::1", "2001:1ff::1"],
  documentation: ["192.0.2.1", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::1"],
  "for tests": ["198.18.0.0", "198.19.255.255"],
  multicast: ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
  "reserved, or broadcast": ["240.0.0.0", "255.255.255.255", "4000::1", "8000::1", "5f00::1"],
  "IPv4-mapped": [
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
  ],
  "IPv4-mapped, written out": ["0:0:0:0:0:ffff:7f00:0001", "::FFFF:127.0.0.1"],
  "IPv4-translated": ["::ffff:0:127.0.0.1"],
  "IPv4-compatible": ["::127.0.0.1", "::7f00:1", "::10.0.0.1"],
  NAT64: ["64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1"],
  "6to4": ["2002:7f00:1::1", "2002:a00:1::", "2002:808:808::1", "192.88.99.1"],
  Teredo: ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
  "site-local": ["fec0::1", "feff::1"],
  "for discarding": ["100::1"],
};

const NONE = [
  "",
  "localhost",
  "example.com",
  "127.1",
  "0x7f000001",
  "2130706433",
  "fe80::1%eth0",
  "::1%lo",
  "[::1]",
  "1.2.3",
];

describe("which addresses a webhook may go to", () => {
  for (const address of PUBLIC) {
    test(`[C5k] a public one is allowed: ${address}`, () => {
      expect(plain.problem(address)).toBeNull();
    });
  }
  for (const address of PRIVATE) {
    test(`[C5l] a private one is not, unless private ones are: ${address}`, () => {
      expect(plain.problem(address)).toMatch(/^\S+ is no public address\. .*--webhook-allow/);
      expect(open.problem(address)).toBeNull();
    });
  }
  for (const [kind, addresses] of Object.entries(SPECIAL)) {
    for (const address of addresses) {
      test(`[C5m] one that is ${kind} is not, even if private ones are: ${address}`, () => {
        expect(plain.problem(address)).not.toBeNull();
        expect(open.problem(address)).not.toBeNull();
      });
    }
  }
  for (const text of NONE) {
    test(`[C5n] what is no address is not: ${JSON.stringify(text)}`, () => {
      for (const policy of [
        plain,
        open,
        new AddressPolicy({ allowPrivate: true, allowed: "0.0.0.0/0,::/0" }),
      ])
        expect(policy.problem(text)).not.toBeNull();
    });
  }

  test("[C5o] networks and addresses that are named are allowed, whatever they are, and no others", () => {
    const some = new AddressPolicy({
      allowPrivate: false,
      allowed: "10.1.0.0/16, 169.254.169.254,fe80::/10",
    });
    const allowed = (address: string) => some.problem(address) === null;
    expect(["10.1.0.0", "10.1.255.255", "169.254.169.254", "fe80::7"].filter(allowed).length).toBe(4);
    expect(["10.0.255.255", "10.2.0.0", "169.254.169.253", "127.0.0.1", "fec0::1"].some(allowed)).toBe(false);
  });

  test("[C5p] every way to write an address into a URL is seen through", () => {
    const hosts = [
      "127.0.0.1",
      "127.1",
      "2130706433",
      "0x7f000001",
      "0177.0.0.1",
      "127.0.0.1.",
      "[::1]",
      "[::ffff:127.0.0.1]",
      "[0:0:0:0:0:ffff:7f00:1]",
      "[64:ff9b::7f00:1]",
      "[2002:7f00:1::]",
      "0",
      "169.254.169.254",
      "localhost",
      "LOCALHOST.",
      "a.localhost",
      "１２７.0.0.1",
    ];
    for (const host of hosts)
      expect([host, plain.urlProblem(`http://${host}:80/`)]).not.toEqual([host, null]);
    for (const host of ["example.com", "8.8.8.8", "[2606:4700::1111]", "localhost.example.com"])
      expect(plain.urlProblem(`https://${host}/`)).toBeNull();
  });
});
