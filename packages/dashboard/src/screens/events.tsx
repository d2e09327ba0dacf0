import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { ServiceEvent } from "../api.js";
import { EVENT_WORDS, EventLine } from "../event-line.js";
import { count, rate } from "../format.js";
import { api, problemOf } from "../state.js";
import { openStream } from "../stream.js";
import { Badge, Button, Empty, Head, Problem, SearchField } from "../ui.js";

const KEPT_MAX = 2_000;
const SHOWN_MAX = 100;
const DRAW_MS = 250;
/** More than anybody can read: then it is drawn less often. */
const FAST_A_S = 200;
const DRAW_FAST_MS = 1_000;
const PAST_PAGES_MAX = 10;

interface Shown {
  readonly event: ServiceEvent;
  readonly number: number;
}

export function Events({ service }: { readonly service: string }) {
  const lines = useSignal<readonly Shown[]>([]);
  const isPaused = useSignal(false);
  const isOpen = useSignal(false);
  const problem = useSignal("");
  const note = useSignal("");
  const perS = useSignal(0);
  const typed = useSignal("");
  const only = useSignal("");
  useEffect(() => {
    document.title = `Events · ${service} · LockDB`;
    const stopped = new AbortController();
    let kept: Shown[] = [];
    let [number, isDirty, heard, heardAtMs] = [0, false, 0, performance.now()];
    let drawnAtMs = 0;
    let close = () => {};
    const add = (events: readonly ServiceEvent[]) => {
      for (const event of events) kept.push({ event, number: ++number });
      heard += events.length;
      if (kept.length > KEPT_MAX) kept = kept.slice(-KEPT_MAX);
      isDirty = true;
    };
    const begin = async () => {
      try {
        let since = "0";
        for (let page = 0; page < PAST_PAGES_MAX; page++) {
          const past = await api.value!.past(service, { since }, stopped.signal);
          add(past.events.map(({ event }) => event));
          since = past.position;
          if (!past.more) break;
        }
        if (stopped.signal.aborted) return;
        heard = 0;
        close = openStream(
          api.value!,
          service,
          { after: since },
          {
            events: add,
            gap: () => {
              note.value =
                "Some events are missing: they were not kept for as long as the connection was away.";
            },
            cut: () => {
              note.value =
                "More happens than this page can read. It goes on where it can; narrow what you look at.";
            },
            isOpen: (value) => {
              isOpen.value = value;
            },
            refused: (error) => {
              problem.value = problemOf(error);
            },
          },
        );
      } catch (error) {
        if (stopped.signal.aborted) return;
        problem.value = problemOf(error);
        setTimeout(() => stopped.signal.aborted || void begin(), 3_000);
      }
    };
    void begin();
    const timer = setInterval(() => {
      const nowMs = performance.now();
      if (nowMs - heardAtMs >= 1_000) {
        perS.value = (heard * 1_000) / (nowMs - heardAtMs);
        [heard, heardAtMs] = [0, nowMs];
      }
      if (!isDirty || isPaused.value || document.hidden) return;
      if (perS.value > FAST_A_S && nowMs - drawnAtMs < DRAW_FAST_MS) return;
      isDirty = false;
      drawnAtMs = nowMs;
      lines.value = kept.slice();
    }, DRAW_MS);
    return () => {
      stopped.abort();
      close();
      clearInterval(timer);
    };
  }, [service]);
  const wanted = typed.value.toLowerCase();
  const found = lines.value.filter(
    ({ event: { type, names, owner } }) =>
      (only.value === "" || type === only.value) &&
      (wanted === "" ||
        owner.toLowerCase().includes(wanted) ||
        names.some((name) => name.toLowerCase().includes(wanted))),
  );
  return (
    <>
      <Head
        title="Events"
        beside={
          <>
            {isOpen.value ? (
              <Badge tone={isPaused.value ? "wait" : "good"} icon={isPaused.value ? "pause" : "pulse"}>
                {isPaused.value ? "paused" : "live"}
              </Badge>
            ) : (
              <Badge>connecting</Badge>
            )}
            <span class="dim">{rate(perS.value)} a second</span>
          </>
        }
      />
      <Problem text={problem.value} />
      {note.value === "" ? null : <p class="note">{note.value}</p>}
      <div class="bar">
        <SearchField label="Lock or owner" typed={typed} />
        <label class="pick">
          <span class="off-screen">Kind</span>
          <select
            value={only.value}
            onChange={(event) => {
              only.value = event.currentTarget.value;
            }}
          >
            <option value="">All kinds</option>
            {Object.entries(EVENT_WORDS).map(([type, { text }]) => (
              <option key={type} value={type}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <Button
          icon={isPaused.value ? "play" : "pause"}
          aria-pressed={isPaused.value}
          onClick={() => {
            isPaused.value = !isPaused.value;
          }}
        >
          {isPaused.value ? "Go on" : "Pause"}
        </Button>
      </div>
      {found.length === 0 ? (
        <Empty icon="list" title={lines.value.length === 0 ? "Nothing has happened yet" : "No such event"}>
          <p>
            {lines.value.length === 0
              ? "The server keeps events from when somebody first looks, for ten minutes. What happens from now on is here."
              : `None of the last ${count(lines.value.length)} fits.`}
          </p>
        </Empty>
      ) : (
        <>
          <ol class="events card">
            {found
              .slice(-SHOWN_MAX)
              .reverse()
              .map(({ event, number }) => (
                <EventLine key={number} event={event} service={service} withName />
              ))}
          </ol>
          <p class="foot dim">
            The newest {count(Math.min(SHOWN_MAX, found.length))} of {count(found.length)}; this page keeps{" "}
            {count(KEPT_MAX)}.
          </p>
        </>
      )}
    </>
  );
}
