import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, serverNowMs } from "../api.js";
import { count, span } from "../format.js";
import { usePoll } from "../hooks.js";
import { Icon } from "../icons.js";
import { LiveLocks, type Row } from "../live-locks.js";
import { api, go, nowMs, problemOf, said } from "../state.js";
import { openStream } from "../stream.js";
import { Badge, Button, Choice, Empty, Foreign, Head, Loading, LockLink, Problem, Since } from "../ui.js";

const A_PAGE = 300;
/** How often what has changed is drawn. */
const DRAW_MS = 250;
/** Rows beyond those that can be seen, above and below. */
const SPARE_ROWS = 8;
const PREFIX_SETTLED_MS = 300;

export function Locks({
  service,
  prefix,
  only,
}: {
  readonly service: string;
  readonly prefix: string;
  readonly only: string;
}) {
  const stats = usePoll((signal) => api.value!.stats(service, signal), 5_000, service);
  const typed = useSignal(prefix);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = `Locks · ${service} · LockDB`;
    const slash = (event: KeyboardEvent) => {
      const isTyping =
        event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      field.current?.focus();
    };
    addEventListener("keydown", slash);
    return () => removeEventListener("keydown", slash);
  }, [service]);
  const sent = useRef(prefix);
  useEffect(() => {
    // What is typed meanwhile is not undone by what was typed before.
    if (prefix !== sent.current) typed.value = prefix;
    sent.current = prefix;
  }, [prefix]);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  return (
    <>
      <Head
        title="Locks"
        beside={
          stats.value.value === null ? null : (
            <span class="dim">
              {count(stats.value.value.locks)} in {service}
            </span>
          )
        }
      />
      <div class="bar">
        <label class="search">
          <span class="off-screen">Name begins with</span>
          <Icon name="search" />
          <input
            ref={field}
            type="search"
            placeholder="Name begins with…"
            autocomplete="off"
            spellcheck={false}
            maxLength={512}
            value={typed.value}
            onInput={(event) => {
              typed.value = event.currentTarget.value;
              clearTimeout(timer.current);
              timer.current = setTimeout(() => {
                sent.current = typed.value;
                go({ screen: "locks", service, prefix: typed.value, only });
              }, PREFIX_SETTLED_MS);
            }}
          />
          <kbd aria-hidden="true">/</kbd>
        </label>
        <Choice
          label="Which"
          value={only}
          options={[
            ["", "All"],
            ["waited", "Waited for"],
            ["closed", "Closed"],
          ]}
          onPick={(value) => go({ screen: "locks", service, prefix, only: value })}
        />
      </div>
      <LockTable key={prefix} service={service} prefix={prefix} only={only} />
    </>
  );
}

type Step = "loading" | "more" | "whole" | "failed";

/** The list, its pages as they are wanted, and its events. */
function useLocks(service: string, prefix: string) {
  const step = useSignal<Step>("loading");
  const problem = useSignal("");
  const drawn = useSignal(0);
  const locks = useRef(new LiveLocks(prefix));
  const begun = useSignal(0);
  const next = useRef<string | null>(null);
  const loadMore = useRef<() => void>(() => {});
  useEffect(() => {
    const stopped = new AbortController();
    const list = new LiveLocks(prefix);
    let isBusy = false;
    let isDirty = false;
    const load = async () => {
      if (isBusy || list.isWhole) return;
      isBusy = true;
      try {
        const query =
          next.current === null
            ? { prefix: prefix === "" ? undefined : prefix, limit: A_PAGE }
            : { next: next.current, limit: A_PAGE };
        const page = await api.value!.locks(service, query, stopped.signal);
        list.addPage(page.locks, serverNowMs());
        next.current = page.next;
        list.isWhole = page.next === null;
        locks.current = list;
        step.value = list.isWhole ? "whole" : "more";
        problem.value = "";
        isDirty = true;
        // A page may be empty and not be the last: nothing in it begins so.
        if (page.locks.length === 0 && page.next !== null) setTimeout(load, 20);
      } catch (error) {
        if (stopped.signal.aborted) return;
        // Nobody has gone on with the list for a minute.
        if (error instanceof ApiError && error.code === "NOT_FOUND") begun.value++;
        else {
          step.value = step.value === "loading" ? "failed" : step.value;
          problem.value = problemOf(error);
          setTimeout(() => {
            if (list.size === 0) void load();
          }, 2_000);
        }
      } finally {
        isBusy = false;
      }
    };
    next.current = null;
    loadMore.current = load;
    const close = openStream(
      api.value!,
      service,
      { prefix },
      {
        events: (events) => {
          list.apply(events);
          isDirty = true;
        },
        gap: () => begun.value++,
        refused: (error) => {
          problem.value = problemOf(error);
        },
      },
    );
    void load();
    const timer = setInterval(() => {
      if (!isDirty || document.hidden) return;
      isDirty = false;
      drawn.value++;
    }, DRAW_MS);
    return () => {
      stopped.abort();
      close();
      clearInterval(timer);
    };
  }, [service, prefix, begun.value]);
  return { locks, step, problem, drawn, loadMore };
}

function LockTable({
  service,
  prefix,
  only,
}: {
  readonly service: string;
  readonly prefix: string;
  readonly only: string;
}) {
  const { locks, step, problem, drawn, loadMore } = useLocks(service, prefix);
  const scroller = useRef<HTMLDivElement>(null);
  const view = useSignal({ top: 0, height: 600, rowHeight: 44 });
  const measure = () => {
    const { current } = scroller;
    if (current === null) return;
    const rowHeight = Number.parseInt(getComputedStyle(current).getPropertyValue("--row"), 10) || 44;
    const { scrollTop: top, clientHeight: height } = current;
    const before = view.value;
    if (before.top !== top || before.height !== height || before.rowHeight !== rowHeight)
      view.value = { top, height, rowHeight };
  };
  useEffect(() => {
    measure();
    const resized = new ResizeObserver(measure);
    if (scroller.current !== null) resized.observe(scroller.current);
    return () => resized.disconnect();
  }, [step.value === "loading" || step.value === "failed"]);
  const wanted =
    only === "waited"
      ? (row: Row) => row.waiting > 0
      : only === "closed"
        ? (row: Row) => row.holder?.isClosed === true
        : undefined;
  void drawn.value;
  const rows = locks.current.rows(wanted);
  const { top, height, rowHeight } = view.value;
  const first = Math.max(0, Math.floor(top / rowHeight) - SPARE_ROWS);
  const last = Math.min(rows.length, Math.ceil((top + height) / rowHeight) + SPARE_ROWS);
  const isNearEnd = last >= rows.length - SPARE_ROWS * 4;
  useEffect(() => {
    if (isNearEnd && step.value === "more") loadMore.current();
  });
  useEffect(() => {
    said.value = `${rows.length} locks shown`;
  }, [prefix, only, step.value]);
  if (step.value === "loading") return <Loading />;
  if (rows.length === 0 && step.value === "whole") {
    return (
      <Empty
        icon="unlock"
        title={
          only === "waited"
            ? "Nobody waits"
            : prefix === "" && only === ""
              ? "Nothing is locked"
              : "No such lock"
        }
      >
        {prefix === "" && only === "" ? (
          <p>A lock is here while it is held or waited for. This fills by itself.</p>
        ) : (
          <p>
            {only === ""
              ? "No lock that is held or waited for begins so."
              : "None of the locks that are here now."}{" "}
            <Button onClick={() => go({ screen: "locks", service, prefix: "", only: "" })}>Show all</Button>
          </p>
        )}
      </Empty>
    );
  }
  return (
    <>
      <Problem text={problem.value} />
      <div
        class="lock-table"
        ref={scroller}
        onScroll={measure}
        tabIndex={0}
        role="table"
        aria-label="Locks"
        aria-rowcount={step.value === "whole" ? rows.length + 1 : -1}
      >
        <div role="rowgroup" class="lock-head">
          <div role="row" class="lock-row" aria-rowindex={1}>
            {["Lock", "State", "Holder", "Held for", "Ends in", "Waiting", "Token"].map((text) => (
              <span role="columnheader" key={text}>
                {text}
              </span>
            ))}
          </div>
        </div>
        <div class="lock-space" role="rowgroup" style={{ height: `${rows.length * rowHeight}px` }}>
          {rows.slice(first, last).map((row, at) => (
            <LockRow
              key={row.name}
              row={row}
              service={service}
              top={(first + at) * rowHeight}
              index={first + at + 2}
            />
          ))}
        </div>
      </div>
      <p class="foot dim">
        {count(rows.length)} shown
        {step.value === "more" ? `; ${count(locks.current.size)} loaded, more as you scroll` : ""}
      </p>
    </>
  );
}

function LockRow({
  row,
  service,
  top,
  index,
}: {
  readonly row: Row;
  readonly service: string;
  readonly top: number;
  readonly index: number;
}) {
  const { holder, waiting } = row;
  return (
    <div role="row" class="lock-row" aria-rowindex={index} style={{ transform: `translateY(${top}px)` }}>
      <span role="rowheader" class="lock-name">
        <LockLink service={service} name={row.name} />
      </span>
      <span role="cell">
        <StateBadge row={row} />
      </span>
      <span role="cell" class="lock-owner">
        {holder === null ? <span class="dim">–</span> : <Foreign text={holder.owner} />}
        {row.holderCount > 1 ? <span class="dim"> and {count(row.holderCount - 1)} more</span> : null}
      </span>
      <span role="cell" class="lock-time number">
        {holder === null || holder.isClosed ? "" : <Since ms={holder.sinceMs} />}
      </span>
      <span role="cell" class="lock-end number">
        {holder?.expiresAtMs == null ? "" : <Left ms={holder.expiresAtMs} />}
      </span>
      <span role="cell" class="lock-waiting number">
        {waiting === 0 ? <span class="dim">0</span> : <strong class="wait-text">{count(waiting)}</strong>}
        <span class="phone-only"> waiting</span>
      </span>
      <span role="cell" class="lock-token number dim">
        {holder === null ? "" : holder.token}
      </span>
    </div>
  );
}

/** A session's lease is renewed all the time: below zero the list does not know by how much. */
function Left({ ms }: { readonly ms: number }) {
  const left = ms - nowMs.value;
  return left > 0 ? (
    <span>{span(left)}</span>
  ) : (
    <span class="dim" title="It was renewed since this page has heard of it.">
      renewed
    </span>
  );
}

function StateBadge({ row: { holder, waiting } }: { readonly row: Row }) {
  if (holder?.isClosed)
    return (
      <Badge tone="closed" icon="clock">
        closed
      </Badge>
    );
  if (holder === null)
    return (
      <Badge tone="wait" icon="people">
        free
      </Badge>
    );
  return waiting > 0 ? (
    <Badge tone="wait" icon="lock">
      contended
    </Badge>
  ) : (
    <Badge tone="held" icon="lock">
      held
    </Badge>
  );
}
