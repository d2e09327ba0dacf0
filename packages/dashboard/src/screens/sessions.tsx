import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { SessionPage } from "../api.js";
import { count, span } from "../format.js";
import { usePoll } from "../hooks.js";
import { api } from "../state.js";
import { Badge, Button, Empty, Foreign, Head, Loading, LockLink, Problem, SearchField } from "../ui.js";

const POLL_MS = 5_000;

type Session = SessionPage["sessions"][number];

const STATES = {
  here: ["good", "connected"],
  away: ["wait", "away"],
  awaited: ["bad", "awaited"],
} as const;

export function Sessions({ service }: { readonly service: string }) {
  const typed = useSignal("");
  /** Where the page that is shown begins, and those before it. */
  const begins = useSignal<readonly number[]>([0]);
  const after = begins.value.at(-1)!;
  const { value, problem } = usePoll(
    (signal) => api.value!.sessions(service, after, signal),
    POLL_MS,
    `${service} ${after}`,
  );
  useEffect(() => {
    document.title = `Sessions · ${service} · LockDB`;
  }, [service]);
  const page = value.value;
  const wanted = typed.value.trim().toLowerCase();
  const shown = (page?.sessions ?? []).filter(
    ({ owner, holds, waitsFor }) =>
      wanted === "" || [owner, ...holds, ...waitsFor].some((each) => each.toLowerCase().includes(wanted)),
  );
  return (
    <>
      <Head title="Sessions">
        <p class="dim">
          Each is one client that is alive: its locks are kept for as long as it is. Locks taken over HTTP
          without a session are not here.
        </p>
      </Head>
      <Problem text={problem.value} />
      {page === null ? (
        problem.value === "" ? (
          <Loading />
        ) : null
      ) : page.sessions.length === 0 && after === 0 ? (
        <Empty icon="people" title="No sessions">
          <p>No client of this service is connected.</p>
        </Empty>
      ) : (
        <>
          <div class="bar">
            <SearchField label="Owner or lock, on this page" typed={typed} />
          </div>
          <div class="table-wide" tabIndex={0} role="region" aria-label="Sessions">
            <table class="data">
              <thead>
                <tr>
                  <th scope="col">Owner</th>
                  <th scope="col">State</th>
                  <th scope="col">Holds</th>
                  <th scope="col">Waits for</th>
                  <th scope="col" class="number">
                    Lease left
                  </th>
                </tr>
              </thead>
              <tbody>
                {shown.map((session) => (
                  <Line key={session.number} session={session} service={service} />
                ))}
              </tbody>
            </table>
          </div>
          {after === 0 && page.next === null ? null : (
            <p class="pager">
              <Button
                disabled={begins.value.length === 1}
                onClick={() => {
                  begins.value = begins.value.slice(0, -1);
                }}
              >
                Before
              </Button>
              <Button
                disabled={page.next === null}
                onClick={() => {
                  begins.value = [...begins.value, page.next!];
                }}
              >
                Next
              </Button>
            </p>
          )}
        </>
      )}
    </>
  );
}

function Line({
  session: { owner, kind, state, holdCount, holds, waiterCount, waitsFor, expiresInMs, leaseMs },
  service,
}: {
  readonly session: Session;
  readonly service: string;
}) {
  const [tone, text] = STATES[state];
  return (
    <tr>
      <th scope="row">
        <Foreign text={owner} />
      </th>
      <td>
        <Badge tone={tone}>{text}</Badge>
        {kind === "native" ? null : <span class="dim"> {kind === "http" ? "over HTTP" : "only looks"}</span>}
      </td>
      <td data-label="Holds">
        <Names names={holds} all={holdCount} service={service} />
      </td>
      <td data-label="Waits for">
        <Names names={waitsFor} all={waiterCount} service={service} />
      </td>
      <td class="number">
        {span(expiresInMs)} <span class="dim">of {span(leaseMs)}</span>
      </td>
    </tr>
  );
}

function Names({
  names,
  all,
  service,
}: {
  readonly names: readonly string[];
  readonly all: number;
  readonly service: string;
}) {
  if (all === 0) return <span class="dim">–</span>;
  const shown = names.slice(0, 3);
  return (
    <span class="names">
      {shown.map((name) => (
        <LockLink key={name} service={service} name={name} />
      ))}
      {all > shown.length ? <span class="dim">and {count(all - shown.length)} more</span> : null}
    </span>
  );
}
