import type { ServiceEvent } from "./api.js";
import { fullUtc, span, utc } from "./format.js";
import type { IconName } from "./icons.js";
import { Icon } from "./icons.js";
import { nowMs, times } from "./state.js";
import { Foreign, LockLink, Time } from "./ui.js";

type Type = ServiceEvent["type"];

export const EVENT_WORDS: Readonly<
  Record<Type, { readonly text: string; readonly icon: IconName; readonly tone: string }>
> = {
  granted: { text: "granted", icon: "lock", tone: "held" },
  restored: { text: "restored", icon: "cycle", tone: "held" },
  queued: { text: "waits", icon: "people", tone: "wait" },
  left: { text: "left the queue", icon: "out", tone: "plain" },
  released: { text: "given back", icon: "unlock", tone: "good" },
  expired: { text: "ran out", icon: "clock", tone: "bad" },
  forced: { text: "freed by force", icon: "force", tone: "bad" },
  deadlock: { text: "deadlock refused", icon: "cycle", tone: "bad" },
  opened: { text: "open again", icon: "unlock", tone: "plain" },
  asked: { text: "asked for", icon: "bell", tone: "wait" },
};

const NAMES_MAX = 3;

export function EventLine({
  event,
  service,
  withName,
}: {
  readonly event: ServiceEvent;
  readonly service: string;
  readonly withName: boolean;
}) {
  const { type, names, owner, token, ticket, reason, closedForMs, cycle } = event;
  const { text, icon, tone } = EVENT_WORDS[type] ?? { text: type, icon: "list", tone: "plain" };
  const atMs = Date.parse(event.at);
  return (
    <li class={`event ${tone}`}>
      <span class="event-time dim">
        {times.value === "utc" ? (
          <time dateTime={event.at} title={fullUtc(atMs)}>
            {utc(atMs, nowMs.value, true)}
          </time>
        ) : (
          <Time ms={atMs} />
        )}
      </span>
      <span class="event-what">
        <Icon name={icon} /> {text}
      </span>
      <span class="event-who">
        {withName ? (
          <>
            {names.slice(0, NAMES_MAX).map((name, at) => (
              <>
                {at === 0 ? null : ", "}
                <LockLink key={name} service={service} name={name} />
              </>
            ))}
            {names.length > NAMES_MAX ? ` and ${names.length - NAMES_MAX} more` : ""} ·{" "}
          </>
        ) : null}
        <Foreign text={owner} />
        <span class="dim">
          {token === undefined ? "" : ` · token ${token}`}
          {ticket === undefined ? "" : ` · ticket ${ticket}`}
          {closedForMs === undefined || closedForMs === 0 ? "" : ` · closed for ${span(closedForMs)} more`}
        </span>
        {reason === undefined ? null : (
          <>
            {" · "}
            <Foreign text={reason} />
          </>
        )}
        {cycle === undefined ? null : (
          <ol class="cycle">
            {cycle.map((step) => (
              <li key={step}>
                <Foreign text={step} isLong />
              </li>
            ))}
          </ol>
        )}
      </span>
    </li>
  );
}
