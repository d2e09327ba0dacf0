import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { AuditEntry } from "../api.js";
import { api, problemOf } from "../state.js";
import { Card, Foreign, Loading, Problem, Time } from "../ui.js";

const DAYS = 7;
const SHOWN_MAX = 50;
const PAGES_MAX = 20;

/** What was done by hand lately, the newest first. The log itself can be read from its beginning on only. */
export function Audit() {
  const entries = useSignal<readonly AuditEntry[] | null>(null);
  const problem = useSignal("");
  useEffect(() => {
    const stopped = new AbortController();
    const load = async () => {
      let after = new Date(Date.now() - DAYS * 86_400_000).toISOString();
      let found: AuditEntry[] = [];
      for (let page = 0; page < PAGES_MAX; page++) {
        const more = await api.value!.get<{ entries: readonly AuditEntry[]; next: string | null }>(
          "/v1/audit",
          { after, limit: 500 },
          stopped.signal,
        );
        found = [...found, ...more.entries].slice(-SHOWN_MAX);
        if (more.next === null) break;
        after = more.next;
      }
      entries.value = found.reverse();
    };
    load().catch((error) => {
      if (!stopped.signal.aborted) problem.value = problemOf(error);
    });
    return () => stopped.abort();
  }, []);
  return (
    <Card title={`Done by hand in the last ${DAYS} days`}>
      <Problem text={problem.value} />
      {entries.value === null ? (
        problem.value === "" ? (
          <Loading />
        ) : null
      ) : entries.value.length === 0 ? (
        <p class="dim none">Nothing.</p>
      ) : (
        <ol class="audit">
          {entries.value.map(({ at, who, what, service, details = {} }) => (
            <li key={`${at} ${what} ${JSON.stringify(details)}`}>
              <span class="event-time dim">
                <Time ms={Date.parse(at)} />
              </span>
              <span>
                <b>{what}</b>
                {service === undefined ? "" : ` in ${service}`}{" "}
                <span class="dim">
                  by <bdi>{who}</bdi>
                </span>
                <span class="audit-details">
                  {Object.entries(details)
                    .filter(([, value]) => value !== null)
                    .map(([name, value]) => (
                      <span key={name}>
                        <span class="dim">{name}</span> <Foreign text={detailText(value)} />
                      </span>
                    ))}
                </span>
              </span>
            </li>
          ))}
        </ol>
      )}
    </Card>
  );
}

function detailText(value: unknown): string {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.join(", ") : JSON.stringify(value);
}
