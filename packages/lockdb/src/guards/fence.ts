import { lockNameProblem, serviceIdProblem } from "../protocol/names.js";

/**
 * A fencing token, or a lease, which has one.
 * @example
 * const token: Token = lease; // or 4711
 */
export type Token = number | { readonly token: number };

/** Which lock a fence is for. Tokens of two services say nothing about each other, and two locks need two fences. */
export interface Place {
  readonly service: string;
  readonly lock: string;
}

/** @throws TypeError for a service id or a lock name that is none */
export function placeOf(service: string, lock: string): Place {
  const problem = serviceIdProblem(service) ?? lockNameProblem(lock);
  if (problem !== null) throw new TypeError(problem);
  return { service, lock };
}

/** A text for the place, another for each: a service id has no slash. */
export function keyOf({ service, lock }: Place): string {
  return `${service}/${lock}`;
}

/**
 * The number. Whatever else there is would compare false with every fence, and that lets it in at one place and not at another.
 * @throws TypeError for what is no token
 */
export function numberOf(token: Token): number {
  const number: unknown = typeof token === "object" && token !== null ? token.token : token;
  if (isToken(number)) return number;
  throw new TypeError("A token is a whole number from 1 to 2^53 - 1, as lease.token has it.");
}

export function isToken(number: unknown): number is number {
  return Number.isSafeInteger(number) && (number as number) >= 1;
}
