import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type LockInfo, type ServiceEvent, serverNowMs } from "../api.js";
import { EventLine } from "../event-line.js";
import { ForceDialog } from "../force-dialog.js";
import { count, plural, span } from "../format.js";
import { Icon } from "../icons.js";
import { LanePicture } from "../lane-picture.js";
import { lanesOf, WINDOW_MS } from "../lanes.js";
import { api, may, nowMs, problemOf } from "../state.js";
import { openStream } from "../stream.js";
import {
  Badge,
  Button,
  Card,
  Choice,
  Copy,
  Foreign,
  Head,
  Link,
  Loading,
  Problem,
  Since,
  Time,
} from "../ui.js";
import { DeadlockPicture, graphOf, WaitPicture } from "../wait-picture.js";

/** What has changed is asked for at once, and then no more often than this. */
const ASK_MS = 2_000;
const ASK_UNCHANGED_MS = 5_000;
const EVENTS_SHOWN = 50;
const EVENTS_KEPT = 5_000;
/** Locks that are looked at beyond this one, for who waits for whom. */
const AROUND_MAX = 8;

const WINDOWS = [
  ["60000", "1 minute"],
  [String(WINDOW_MS), "10 minutes"],
] as const;

interface Seen {
  readonly lock: LockInfo;
  readonly atMs: number;
  /** This one and those that its holders wait for, and so on. */
  readonly around: ReadonlyMap<string, LockInfo>;
}

/** A lock as it is, and what has happened to it. */
function useLock(service: string, name: string) {
  const seen = useSignal<Seen | null>(null);
  const problem = useSignal("");
  const events = useSignal<readonly ServiceEvent[]>([]);
  const watchedSinceMs = useSignal(serverNowMs());
  const askNow = useRef<() => void>(() => {});
  useEffect(() => {
    const stopped = new AbortController();
    const { signal } = stopped;
    let [timer, askedAtMs, isBusy]: [ReturnType<typeof setTimeout> | undefined, number, boolean] = [
      undefined,
      0,
      false,
    ];
    const ask = async () => {
      clearTimeout(timer);
      if (isBusy || document.hidden) return;
      isBusy = true;
      askedAtMs = Date.now();
      try {
        const lock = await api.value!.lock(service, name, signal);
        const atMs = serverNowMs();
        const around = await lookAround(service, lock, signal);
        seen.value = { lock, atMs, around };
        problem.value = "";
      } catch (error) {
        if (signal.aborted) return;
        problem.value = problemOf(error);
      } finally {
        isBusy = false;
        if (!signal.aborted) timer = setTimeout(ask, ASK_UNCHANGED_MS);
      }
    };
    const askSoon = () => {
      clearTimeout(timer);
      timer = setTimeout(ask, Math.max(0, ASK_MS - (Date.now() - askedAtMs)));
    };
    askNow.current = askSoon;
    const add = (more: readonly ServiceEvent[]) => {
      const own = more.filter(({ names }) => names.includes(name));
      if (own.length === 0) return;
      const beginMs = serverNowMs() - WINDOW_MS;
      const all = [...events.value, ...own].slice(-EVENTS_KEPT);
      // An end must keep its beginning: what began before the window is cut by whoever draws.
      events.value =
        all.length > EVENTS_SHOWN ? all.filter(({ at }) => Date.parse(at) > beginMs - WINDOW_MS) : all;
      askSoon();
    };
    let close = () => {};
    const begin = async () => {
      try {
        const past: ServiceEvent[] = [];
        let since = "0";
        for (let page = 0; page < 10; page++) {
          const found = await api.value!.past(service, { prefix: name, since }, signal);
          past.push(...found.events.map(({ event }) => event));
          since = found.position;
          if (!found.more) break;
        }
        if (signal.aborted) return;
        if (past.length > 0) watchedSinceMs.value = Math.min(watchedSinceMs.value, Date.parse(past[0]!.at));
        events.value = [];
        add(past);
        close = openStream(
          api.value!,
          service,
          { prefix: name, after: since },
          {
            events: add,
            gap: () => {
              watchedSinceMs.value = serverNowMs();
            },
          },
        );
      } catch (error) {
        if (signal.aborted) return;
        problem.value = problemOf(error);
        setTimeout(() => signal.aborted || void begin(), 3_000);
      }
    };
    const visible = () => document.hidden || askSoon();
    document.addEventListener("visibilitychange", visible);
    void ask();
    void begin();
    return () => {
      stopped.abort();
      close();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", visible);
    };
  }, [service, name]);
  return { seen, problem, events, watchedSinceMs, askNow };
}

async function lookAround(
  service: string,
  lock: LockInfo,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, LockInfo>> {
  const around = new Map([[lock.name, lock]]);
  for (const each of around.values()) {
    for (const wanted of each.holders.flatMap(({ waitsFor }) => waitsFor ?? [])) {
      if (around.has(wanted) || around.size > AROUND_MAX) continue;
      around.set(wanted, await api.value!.lock(service, wanted, signal));
    }
  }
  return around;
}

export function Lock({ service, name }: { readonly service: string; readonly name: string }) {
  const { seen, problem, events, watchedSinceMs, askNow } = useLock(service, name);
  const forcing = useSignal<number | null>(null);
  const windowMs = useSignal(WINDOW_MS);
  useEffect(() => {
    document.title = `${name.slice(0, 60)} · ${service} · LockDB`;
  }, [name, service]);
  const title = <Foreign text={name} isLong />;
  const up = (
    <p class="up">
      <Link to={{ screen: "locks", service, prefix: "", only: "" }}>Locks</Link>{" "}
      <span class="dim">in {service}</span>
    </p>
  );
  if (seen.value === null) {
    return (
      <>
        <Head title={title}>{up}</Head>
        <Problem text={problem.value} />
        {problem.value === "" ? <Loading /> : null}
      </>
    );
  }
  const { lock, atMs, around } = seen.value;
  const graph = graphOf(service, name, around);
  const lanes = lanesOf(name, events.value, lock, atMs, nowMs.value, windowMs.value);
  const deadlock = events.value.findLast(({ type }) => type === "deadlock");
  return (
    <>
      <Head
        title={title}
        beside={
          <>
            <StateOf lock={lock} />
            <Copy text={name} label="Copy the name" />
          </>
        }
      >
        {up}
      </Head>
      <Problem text={problem.value} />
      {lock.recovering ? (
        <div class="note bad">
          <Icon name="cycle" />
          <div>
            The service is recovering: somebody may hold this lock whom the server does not know of yet.
          </div>
        </div>
      ) : null}
      {lock.previous === undefined ? null : (
        <div class="note">
          <Icon name={lock.previous.endedBy === "force" ? "force" : "clock"} />
          <div>
            The hold of <Foreign text={lock.previous.owner} /> (token {lock.previous.token}){" "}
            {lock.previous.endedBy === "force" ? "was freed by force" : "ran out"}, and was not given back: it
            may have left something half done.
          </div>
        </div>
      )}
      <div class="two">
        <Card title={lock.holderCount > 1 ? `${count(lock.holderCount)} holders` : "Holder"}>
          {lock.holders.length === 0 ? (
            <p class="dim none">Nobody has it.</p>
          ) : (
            lock.holders.slice(0, 10).map((holder) => (
              <HolderFacts
                key={holder.token}
                holder={holder}
                atMs={atMs}
                onForce={() => {
                  forcing.value = holder.token;
                }}
              />
            ))
          )}
          {lock.holderCount > 10 ? <p class="dim">and {count(lock.holderCount - 10)} more</p> : null}
        </Card>
        <Card title={lock.queueLength === 0 ? "Queue" : `Queue of ${count(lock.queueLength)}`}>
          <Queue lock={lock} atMs={atMs} />
        </Card>
      </div>
      <Card
        title="Time line"
        beside={
          <Choice
            label="How much of it"
            value={String(windowMs.value)}
            options={WINDOWS}
            onPick={(value) => {
              windowMs.value = Number(value);
            }}
          />
        }
      >
        {lanes.length === 0 ? (
          <p class="dim none">Nothing has happened to it that anybody watched.</p>
        ) : (
          <LanePicture
            lanes={lanes}
            nowMs={nowMs.value}
            sinceMs={watchedSinceMs.value}
            windowMs={windowMs.value}
          />
        )}
      </Card>
      {graph.edges.length === 0 ? null : (
        <Card title="Who waits for whom">
          <WaitPicture graph={graph} />
        </Card>
      )}
      {deadlock === undefined ? null : (
        <Card
          title="A deadlock was refused"
          beside={
            <Badge tone="bad" icon="cycle">
              <Time ms={Date.parse(deadlock.at)} />
            </Badge>
          }
        >
          <p>
            <Foreign text={deadlock.owner} /> would have waited for itself. Its request was refused at once;
            nobody stands still. Programs that take these locks should take them in one order, or as one set.
          </p>
          <DeadlockPicture event={deadlock} />
          <ol class="cycle">
            {(deadlock.cycle ?? []).map((step) => (
              <li key={step}>
                <Foreign text={step} isLong />
              </li>
            ))}
          </ol>
        </Card>
      )}
      <Card title="What has happened">
        {events.value.length === 0 ? (
          <p class="dim none">Nothing since somebody looks. What happens from now on is here.</p>
        ) : (
          <ol class="events">
            {events.value
              .slice(-EVENTS_SHOWN)
              .reverse()
              .map((event, at) => (
                <EventLine
                  key={`${event.at} ${event.type} ${event.token ?? event.ticket ?? at}`}
                  event={event}
                  service={service}
                  withName={false}
                />
              ))}
          </ol>
        )}
      </Card>
      {forcing.value === null ? null : (
        <ForceDialog
          service={service}
          lock={lock}
          token={forcing.value}
          onClose={() => {
            forcing.value = null;
          }}
          onDone={() => {
            forcing.value = null;
            askNow.current();
          }}
        />
      )}
    </>
  );
}

function StateOf({ lock }: { readonly lock: LockInfo }) {
  const [holder] = lock.holders;
  if (holder === undefined)
    return lock.queueLength > 0 ? (
      <Badge tone="wait">free, with a queue</Badge>
    ) : (
      <Badge icon="unlock">free</Badge>
    );
  if (holder.state === "closed")
    return (
      <Badge tone="closed" icon="clock">
        closed
      </Badge>
    );
  const mode = holder.mode === "semaphore" ? `${plural(holder.permits ?? 1, "permit")}` : holder.mode;
  return (
    <>
      <Badge tone={lock.queueLength > 0 ? "wait" : "held"} icon="lock">
        {lock.queueLength > 0 ? "contended" : "held"}
      </Badge>
      <Badge>{mode}</Badge>
    </>
  );
}

function HolderFacts({
  holder,
  atMs,
  onForce,
}: {
  readonly holder: LockInfo["holders"][number];
  readonly atMs: number;
  readonly onForce: () => void;
}) {
  const {
    owner,
    token,
    state,
    heldForMs,
    expiresInMs,
    detached,
    leads,
    askedFor,
    metadata,
    names,
    weight,
    mode,
  } = holder;
  const since = atMs - heldForMs;
  const leftMs = Math.max(0, atMs + expiresInMs - nowMs.value);
  const meta = Object.entries(metadata);
  return (
    <article class="holder">
      <div class="holder-head">
        <strong>
          <Foreign text={owner} isLong />
        </strong>
        {leads ? <Badge icon="star">leads</Badge> : null}
        {detached ? <Badge>detached</Badge> : null}
        {state === "closed" ? <Badge tone="closed">closed after its hold</Badge> : null}
      </div>
      {askedFor === undefined ? null : (
        <p class="note small">
          <Icon name="bell" />
          <span>
            Asked to give it back: <Foreign text={askedFor} isLong />
          </span>
        </p>
      )}
      <dl class="facts">
        <dt>Token</dt>
        <dd class="number-text">{token}</dd>
        <dt>{state === "closed" ? "Was granted" : "Held"}</dt>
        <dd>
          <Since ms={since} />
        </dd>
        <dt>{detached || state === "closed" ? "Ends in" : "Lease"}</dt>
        <dd>
          {span(leftMs)} {detached || state === "closed" ? "" : <span class="dim">unless it is renewed</span>}
        </dd>
        {mode === "semaphore" ? (
          <>
            <dt>Weight</dt>
            <dd>{count(weight ?? 1)}</dd>
          </>
        ) : null}
        {names === undefined ? null : (
          <>
            <dt>Set</dt>
            <dd>
              {names.map((each, at) => (
                <>
                  {at === 0 ? null : ", "}
                  <Foreign key={each} text={each} />
                </>
              ))}
            </dd>
          </>
        )}
        {meta.map(([name, value]) => (
          <>
            <dt key={name}>
              <Foreign text={name} />
            </dt>
            <dd>
              <Foreign text={String(value)} isLong />
            </dd>
          </>
        ))}
      </dl>
      {may("force") && state !== "closed" ? (
        <Button tone="bad" icon="force" onClick={onForce}>
          Take it from this holder…
        </Button>
      ) : null}
    </article>
  );
}

function Queue({ lock, atMs }: { readonly lock: LockInfo; readonly atMs: number }) {
  if (lock.queueLength === 0) return <p class="dim none">Nobody waits.</p>;
  return (
    <div class="queue" tabIndex={0} role="region" aria-label="The queue">
      <ol>
        {lock.queue.map(({ ticket, owner, waitingForMs, mode, weight, away, names }, at) => (
          <li key={ticket}>
            <span class="place">{at + 1}</span>
            <span class="queue-who">
              <Foreign text={owner} />
              <span class="dim">
                ticket {ticket}
                {mode === "exclusive" ? "" : ` · ${mode}`}
                {mode === "semaphore" ? ` ×${weight ?? 1}` : ""}
                {names === undefined ? "" : ` · set of ${names.length}`}
              </span>
            </span>
            {away ? <Badge tone="closed">away</Badge> : null}
            <span class="number">
              <Since ms={atMs - waitingForMs} />
            </span>
          </li>
        ))}
      </ol>
      {lock.queueLength > lock.queue.length ? (
        <p class="dim">and {count(lock.queueLength - lock.queue.length)} more behind them</p>
      ) : null}
    </div>
  );
}
