import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import type { Contention, Delivery } from "../api.js";
import { concernsOf } from "../attention.js";
import { count, rate, span } from "../format.js";
import { historyOf, type Numbers } from "../history.js";
import { usePoll } from "../hooks.js";
import { Icon } from "../icons.js";
import { toHash } from "../route.js";
import { Spark } from "../spark.js";
import { api, mayAll, self } from "../state.js";
import { Badge, Card, Foreign, Head, Link, Loading, LockLink, Problem } from "../ui.js";

const STATS_MS = 2_000;
const CONTENTION_MS = 4_000;
const DELIVERIES_MS = 30_000;

export function Now({ service }: { readonly service: string }) {
  const history = historyOf(service);
  const stats = usePoll(
    async (signal) => {
      const found = await api.value!.stats(service, signal);
      history.add(found, Date.now());
      return found;
    },
    STATS_MS,
    service,
  );
  const contention = usePoll((signal) => api.value!.contention(service, signal), CONTENTION_MS, service);
  const deliveries = usePoll(
    async (signal) => (mayAll("read") ? failing(signal) : null),
    DELIVERIES_MS,
    service,
  );
  useEffect(() => {
    document.title = `${service} · LockDB`;
  }, [service]);
  const seen = stats.value.value;
  if (seen === null) return stats.problem.value === "" ? <Loading /> : <Problem text={stats.problem.value} />;
  const concerns = concernsOf({
    ...{ service, stats: seen, contention: contention.value.value, lately: history.lately },
    ...{ deliveries: deliveries.value.value, account: self.value?.account ?? null },
  });
  const { numbers } = history;
  const last = numbers.at(-1)!;
  return (
    <>
      <Head
        title="Now"
        beside={
          seen.recovering ? (
            <Badge tone="bad" icon="cycle">
              recovering
            </Badge>
          ) : null
        }
      />
      <Problem text={stats.problem.value || contention.problem.value} />
      <div class="tiles">
        <Tile
          label="Held"
          value={count(last.held)}
          unit={last.held === 1 ? "hold" : "holds"}
          numbers={numbers}
          read={(each) => each.held}
          tone="--held"
          to=""
          service={service}
        />
        <Tile
          label="Waiting"
          value={count(last.waiting)}
          unit={last.waiting === 1 ? "request" : "requests"}
          numbers={numbers}
          read={(each) => each.waiting}
          tone="--wait"
          to="waited"
          service={service}
        />
        <Tile
          label="Grants"
          value={last.grantsPerS === null ? "–" : rate(last.grantsPerS)}
          unit="a second"
          numbers={numbers}
          read={(each) => each.grantsPerS}
          tone="--good"
        />
        <Tile
          label="Wait, p99"
          value={waitText(last.waitP99Ms)}
          unit="last min"
          numbers={numbers}
          read={(each) => finite(each.waitP99Ms)}
          tone="--accent"
        />
      </div>
      <Card title="Needs attention" className="attention">
        {contention.value.value === null ? (
          <Loading />
        ) : concerns.length === 0 ? (
          <p class="all-well">
            <Icon name="check" /> Nothing needs you.
          </p>
        ) : (
          <ul>
            {concerns.map(({ key, tone, icon, name, text, to }) => (
              <li key={key} class={tone}>
                <Icon name={icon} />
                <span>
                  {name === null ? null : to === null ? (
                    <Foreign text={name} />
                  ) : (
                    <a href={toHash(to)}>
                      <Foreign text={name} />
                    </a>
                  )}{" "}
                  {text} {name === null && to !== null ? <Link to={to}>Look</Link> : null}
                </span>
              </li>
            ))}
          </ul>
        )}
      </Card>
      <div class="two">
        <Card
          title="Waited for most"
          beside={<Link to={{ screen: "locks", service, prefix: "", only: "waited" }}>All</Link>}
        >
          <Hottest found={contention.value.value?.hottest ?? []} service={service} />
        </Card>
        <Card
          title="Held longest"
          beside={<Link to={{ screen: "locks", service, prefix: "", only: "" }}>All</Link>}
        >
          <OldestHolds found={contention.value.value?.oldestHolds ?? []} service={service} />
        </Card>
      </div>
      <p class="foot dim">
        {count(seen.sessions)} {seen.sessions === 1 ? "session" : "sessions"} · the lines begin when this page
        was opened; Prometheus has more: <code>/metrics</code>
      </p>
    </>
  );

  async function failing(signal: AbortSignal): Promise<readonly Delivery[]> {
    const page = (status: string) =>
      api.value!.get<{ deliveries: readonly Delivery[] }>(
        "/v1/webhooks/deliveries",
        { status, limit: 50 },
        signal,
      );
    const [pending, failed] = await Promise.all([page("pending"), page("failed")]);
    const dayAgoMs = Date.now() - 86_400_000;
    const lately = failed.deliveries.filter(({ createdAt }) => Date.parse(createdAt) > dayAgoMs);
    return [...pending.deliveries, ...lately].filter((each) => each.service === service);
  }
}

function Tile({
  label,
  value,
  unit,
  numbers,
  read,
  tone,
  to,
  service,
}: {
  readonly label: string;
  readonly value: string;
  readonly unit: string;
  readonly numbers: readonly Numbers[];
  readonly read: (numbers: Numbers) => number | null;
  readonly tone: string;
  readonly to?: string;
  readonly service?: string;
}) {
  const text = (
    <>
      <span class="tile-label">{label}</span>
      <span class="tile-value">
        <b>{value}</b> <span class="dim">{unit}</span>
      </span>
    </>
  );
  return (
    <div class="tile">
      {to === undefined ? (
        <div>{text}</div>
      ) : (
        <Link to={{ screen: "locks", service: service!, prefix: "", only: to }}>{text}</Link>
      )}
      <Spark times={numbers.map(({ atMs }) => atMs / 1_000)} values={numbers.map(read)} tone={tone} />
    </div>
  );
}

function Hottest({ found, service }: { readonly found: Contention["hottest"]; readonly service: string }) {
  if (found.length === 0) return <p class="dim none">Nobody waits.</p>;
  return (
    <Locks columns={["Waiting", "First for"]}>
      {found.map(({ lock: { name, queueLength, queue } }) => (
        <tr key={name}>
          <th scope="row">
            <LockLink service={service} name={name} />
          </th>
          <td>{count(queueLength)}</td>
          <td class="number">{queue[0] === undefined ? "–" : span(queue[0].waitingForMs)}</td>
        </tr>
      ))}
    </Locks>
  );
}

function OldestHolds({
  found,
  service,
}: {
  readonly found: Contention["oldestHolds"];
  readonly service: string;
}) {
  const held = found.filter(({ holder }) => holder.state !== "closed");
  if (held.length === 0) return <p class="dim none">Nothing is held.</p>;
  return (
    <Locks columns={["Holder", "For"]}>
      {held.map(({ name, holder }) => (
        <tr key={holder.token}>
          <th scope="row">
            <LockLink service={service} name={name} />
          </th>
          <td>
            <Foreign text={holder.owner} />
          </td>
          <td class="number">{span(holder.heldForMs)}</td>
        </tr>
      ))}
    </Locks>
  );
}

function Locks({
  columns: [second, third],
  children,
}: {
  readonly columns: readonly [string, string];
  readonly children: ComponentChildren;
}) {
  return (
    <table class="plain-table">
      <thead>
        <tr>
          <th scope="col">Lock</th>
          <th scope="col">{second}</th>
          <th scope="col" class="number">
            {third}
          </th>
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  );
}

function waitText(ms: number | null): string {
  if (ms === null) return "–";
  return Number.isFinite(ms) ? `≤ ${span(ms, true)}` : "> 2 h";
}

function finite(ms: number | null): number | null {
  return ms !== null && Number.isFinite(ms) ? ms : null;
}
