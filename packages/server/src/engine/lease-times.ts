import type { ServiceSettings } from "lockdb/protocol";
import type {
  AnswerRecord,
  CeilingRecord,
  HoldRecord,
  PreviousRecord,
  RevokedRecord,
  SessionRecord,
  StoppedRecord,
} from "./commands.js";

/** What a number of milliseconds in a record is: a moment of the lease clock, or how long something lasts. */
type Nature = "moment" | "span";

/** Each field in milliseconds that a record has: one that is new is missing here, and is not compiled. */
type Natures<Value> = {
  readonly [Name in keyof Value as Name extends `${string}Ms` ? Name : never]-?: Nature;
};

interface Values {
  readonly session: SessionRecord;
  readonly hold: HoldRecord;
  readonly answer: AnswerRecord;
  readonly previous: PreviousRecord;
  readonly revoked: RevokedRecord;
  readonly settings: ServiceSettings;
  readonly ceiling: CeilingRecord;
  readonly stopped: StoppedRecord;
}

/** Of each kind of record that a service has. */
export const LEASE_TIMES: { readonly [Type in keyof Values]: Natures<Values[Type]> } = {
  session: { leaseMs: "span", awaitedUntilMs: "moment" },
  hold: {
    grantedAtMs: "moment",
    expiresAtMs: "moment",
    leaseMs: "span",
    minUntilMs: "moment",
    maxUntilMs: "moment",
  },
  answer: { untilMs: "moment" },
  previous: {},
  revoked: {},
  settings: { lockDelayMs: "span" },
  ceiling: {},
  stopped: {},
};

/**
 * A service's record as it is on a lease clock that is ahead by so many milliseconds of the one that it was written on: what lasts goes on for as long.
 * @returns the same object when it names no moment
 */
export function onOtherClock(type: string, value: object, aheadMs: number): object {
  const natures: Readonly<Record<string, Nature>> = LEASE_TIMES[type as keyof Values] ?? {};
  const moments = Object.entries(value).flatMap(([name, moment]) =>
    natures[name] === "moment" && typeof moment === "number" ? [[name, moment + aheadMs]] : [],
  );
  return moments.length === 0 || aheadMs === 0 ? value : { ...value, ...Object.fromEntries(moments) };
}
