import type { Account, Limits } from "./account.js";

/** In the order in which they are told. */
const SHARED = [
  "holds",
  "sessions",
  "waiters",
  "services",
  "deliveries",
  "connections",
  "acts",
  "requests",
] as const;

/** What an account has at one member, or at several. `acts`: since the member joined; `requests`: within the last second. */
export type AccountUse = Readonly<Record<(typeof SHARED)[number], number>>;

/** What a member tells the others: by account, in the order of `SHARED`. */
export interface Share {
  readonly accounts: Readonly<Record<string, readonly number[]>>;
}

/** As JSON. What does not fit is not told, of the accounts that are furthest from their limits. */
const BYTES_MAX = 60 * 1_024;
/** Of a line about an account: its id, and what is around the numbers. */
const LINE_BYTES = 32;

/** What accounts with limits have at the other members of a cluster (A5), as these have told last. */
export class AccountShares {
  #members = 1;
  #others: ReadonlyMap<string, AccountUse> = new Map();

  /** What is to be told of these accounts. Null: they have nothing here. */
  told(accounts: Iterable<Account>, useOf: (account: Account) => AccountUse): Share | null {
    const lines: { readonly id: string; readonly numbers: readonly number[]; readonly part: number }[] = [];
    let bytes = 0;
    for (const account of accounts) {
      const use = useOf(account);
      const numbers = SHARED.map((what) => Math.ceil(use[what]));
      if (numbers.every((number) => number === 0)) continue;
      lines.push({ id: account.id, numbers, part: partOf(account.limits, use) });
      bytes += bytesOf(numbers);
    }
    if (lines.length === 0) return null;
    if (bytes > BYTES_MAX) {
      lines.sort((a, b) => b.part - a.part);
      for (; bytes > BYTES_MAX; bytes -= bytesOf(lines.pop()!.numbers));
    }
    return { accounts: Object.fromEntries(lines.map(({ id, numbers }) => [id, numbers])) };
  }

  /** @param shares what the others have told @param members how many there are, with this one */
  hear(shares: readonly Share[], members: number): void {
    const others = new Map<string, Record<keyof AccountUse, number>>();
    for (const { accounts } of shares) {
      for (const [id, numbers] of Object.entries(accounts)) {
        const sum = others.get(id) ?? { ...NOTHING };
        for (const [at, what] of SHARED.entries()) sum[what] += numbers[at] ?? 0;
        others.set(id, sum);
      }
    }
    this.#others = others;
    this.#members = members;
  }

  /** What others leave of an account's limits. Entries in the audit log are counted where the log is. */
  leftOf(account: string, limits: Limits): Limits {
    const others = this.#others.get(account);
    if (others === undefined) return limits;
    return {
      ...limits,
      holds: less(limits.holds, others.holds + others.waiters),
      sessions: less(limits.sessions, others.sessions),
      waiters: less(limits.waiters, others.waiters),
      services: less(limits.services, others.services),
      deliveries: less(limits.deliveries, others.deliveries),
      connections: less(limits.connections, others.connections),
    };
  }

  /** Which part of an account's requests a second may be made here: what others leave, and no less than one of as many parts as there are members. */
  rateOf(account: string, ratePerS: number): number {
    const requests = this.#others.get(account)?.requests ?? 0;
    if (requests === 0) return 1;
    return Math.max(1 / this.#members, 1 - requests / ratePerS);
  }
}

const NOTHING: AccountUse = {
  ...{ holds: 0, sessions: 0, waiters: 0, services: 0 },
  ...{ deliveries: 0, connections: 0, acts: 0, requests: 0 },
};

/** How many acts each member says that it has made. */
export function* actsIn(share: Share): Generator<readonly [account: string, count: number]> {
  const at = SHARED.indexOf("acts");
  for (const [account, numbers] of Object.entries(share.accounts)) yield [account, numbers[at] ?? 0];
}

function less(limit: number | null, used: number): number | null {
  return limit === null ? null : Math.max(0, limit - used);
}

/** How near an account is to the limit that it is nearest to: 1 is there. */
function partOf(limits: Limits, use: AccountUse): number {
  const { requestsPerSecond, holds, sessions, waiters, services, deliveries, connections, acts } = limits;
  const parts: readonly (readonly [number, number | null])[] = [
    [use.holds + use.waiters, holds],
    [use.sessions, sessions],
    [use.waiters, waiters],
    [use.services, services],
    [use.deliveries, deliveries],
    [use.connections, connections],
    [use.acts, acts],
    [use.requests, requestsPerSecond],
  ];
  return Math.max(...parts.map(([used, limit]) => (limit === null ? 0 : used / Math.max(1, limit))));
}

function bytesOf(numbers: readonly number[]): number {
  return LINE_BYTES + JSON.stringify(numbers).length;
}
