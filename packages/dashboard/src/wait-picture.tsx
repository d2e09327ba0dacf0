/** Who waits for whom, as it is now; and a deadlock that was refused, as the circle that it was. */
import type { LockInfo, ServiceEvent } from "./api.js";
import { count } from "./format.js";
import { toHash } from "./route.js";

const BOX = { width: 168, height: 46 };
const GAP = { x: 56, y: 14 };
const SHOWN_MAX = 4;
const TEXT_MAX = 19;

interface Node {
  readonly id: string;
  readonly kind: "lock" | "holder" | "waiter" | "more";
  readonly title: string;
  readonly below: string;
  readonly href: string | null;
  readonly column: number;
  row: number;
}

interface Graph {
  readonly nodes: readonly Node[];
  readonly edges: readonly { readonly from: string; readonly to: string }[];
}

/** @param known what there is to know of this lock, and of those that its holders wait for, by their names */
export function graphOf(service: string, name: string, known: ReadonlyMap<string, LockInfo>): Graph {
  const nodes = new Map<string, Node>();
  const edges: { from: string; to: string }[] = [];
  const rows: number[] = [];
  const add = (
    id: string,
    column: number,
    more: Pick<Node, "kind" | "title" | "below" | "href">,
  ): boolean => {
    if (nodes.has(id)) return false;
    const row = rows[column] ?? 0;
    rows[column] = row + 1;
    nodes.set(id, { id, column, row, ...more });
    return true;
  };
  const lockId = (each: string) => `lock ${each}`;
  const addLock = (each: string, column: number) => {
    const lock = known.get(each);
    const isNew = add(lockId(each), column, {
      ...{ kind: "lock", title: each, href: toHash({ screen: "lock", service, name: each }) },
      below: lock === undefined ? "lock" : `lock · ${count(lock.queueLength)} waiting`,
    });
    if (!isNew || lock === undefined) return;
    for (const { token, owner, waitsFor, state } of lock.holders.slice(0, SHOWN_MAX)) {
      const id = `hold ${token}`;
      edges.push({ from: lockId(each), to: id });
      const isNewHolder = add(id, column + 1, {
        ...{ kind: "holder", title: owner, href: null },
        below: state === "closed" ? `token ${token} · closed` : `token ${token}`,
      });
      if (!isNewHolder) continue;
      for (const wanted of (waitsFor ?? []).slice(0, SHOWN_MAX)) {
        addLock(wanted, column + 2);
        edges.push({ from: id, to: lockId(wanted) });
      }
    }
  };
  const start = known.get(name);
  for (const { ticket, owner } of start?.queue.slice(0, SHOWN_MAX) ?? []) {
    add(`waiter ${ticket}`, 0, { kind: "waiter", title: owner, below: `ticket ${ticket}`, href: null });
    edges.push({ from: `waiter ${ticket}`, to: lockId(name) });
  }
  const more = (start?.queueLength ?? 0) - Math.min(SHOWN_MAX, start?.queue.length ?? 0);
  if (more > 0) {
    add("more", 0, { kind: "more", title: `and ${count(more)} more`, below: "waiting", href: null });
    edges.push({ from: "more", to: lockId(name) });
  }
  addLock(name, 1);
  return { nodes: [...nodes.values()], edges };
}

export function WaitPicture({ graph: { nodes, edges } }: { readonly graph: Graph }) {
  const first = Math.min(...nodes.map(({ column }) => column));
  const columns = Math.max(...nodes.map(({ column }) => column)) - first + 1;
  const rowsMax = Math.max(...nodes.map(({ row }) => row)) + 1;
  const height = rowsMax * (BOX.height + GAP.y) - GAP.y + 4;
  const counts = new Map<number, number>();
  for (const { column, row } of nodes) counts.set(column, Math.max(counts.get(column) ?? 0, row + 1));
  const place = new Map(
    nodes.map((node) => {
      const offset = ((rowsMax - counts.get(node.column)!) * (BOX.height + GAP.y)) / 2;
      return [
        node.id,
        {
          x: 2 + (node.column - first) * (BOX.width + GAP.x),
          y: 2 + offset + node.row * (BOX.height + GAP.y),
        },
      ] as const;
    }),
  );
  const width = columns * (BOX.width + GAP.x) - GAP.x + 4;
  const words = nodes.map(({ title, below }) => `${title} (${below})`).join(", ");
  return (
    <div class="picture" tabIndex={0} role="region" aria-label="Who waits for whom">
      <svg
        width={width}
        height={height}
        viewBox={`0 0 ${width} ${height}`}
        role="group"
        aria-label={`Who waits for whom: ${words}`}
      >
        <Arrow id="arrow" />
        {edges.map(({ from, to }) => {
          const [a, b] = [place.get(from)!, place.get(to)!];
          const [x1, y1, y2] = [a.x + BOX.width, a.y + BOX.height / 2, b.y + BOX.height / 2];
          // To what stands before it, around below: it is a way back.
          const isBack = b.x <= a.x;
          const x2 = isBack ? b.x + BOX.width : b.x;
          const bend = isBack ? 70 : GAP.x / 2;
          const path = isBack
            ? `M${x1} ${y1}C${x1 + bend} ${y1 + 40} ${x2 + bend} ${y2 + 40} ${x2 + 7} ${y2}`
            : `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 7} ${y2}`;
          return (
            <path
              key={`${from} ${to}`}
              class={`edge ${isBack ? "back" : ""}`}
              d={path}
              marker-end="url(#arrow)"
            />
          );
        })}
        {nodes.map((node) => {
          const { x, y } = place.get(node.id)!;
          const box = <Box x={x} y={y} kind={node.kind} title={node.title} below={node.below} />;
          return node.href === null ? (
            <g key={node.id}>{box}</g>
          ) : (
            <a key={node.id} href={node.href}>
              {box}
            </a>
          );
        })}
      </svg>
    </div>
  );
}

function Box({
  x,
  y,
  kind,
  title,
  below,
}: {
  readonly x: number;
  readonly y: number;
  readonly kind: string;
  readonly title: string;
  readonly below: string;
}) {
  return (
    <g class={`box ${kind}`} transform={`translate(${x} ${y})`}>
      <title>{title}</title>
      <rect width={BOX.width} height={BOX.height} rx={kind === "lock" ? 6 : 23} />
      <text x={BOX.width / 2} y={20} class="box-title">
        {cut(title)}
      </text>
      <text x={BOX.width / 2} y={36} class="box-below">
        {below}
      </text>
    </g>
  );
}

/** Each waits for what the next one has: all of them stand in a circle. */
export function DeadlockPicture({ event }: { readonly event: ServiceEvent }) {
  const round = event.round ?? [];
  if (round.length === 0) return null;
  const n = round.length;
  const [rx, ry] = [n === 1 ? 0 : 150 + n * 12, n === 1 ? 0 : n === 2 ? 0 : 60 + n * 16];
  const [width, height] = [2 * rx + BOX.width + 60, 2 * ry + BOX.height + 150];
  const at = (index: number) => {
    const angle = Math.PI + (index * 2 * Math.PI) / n;
    return { x: width / 2 + rx * Math.cos(angle), y: height / 2 + ry * Math.sin(angle) };
  };
  const arrows = round.map(({ wants }, index) => {
    const [a, b] = [at(index), at((index + 1) % n)];
    const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    // Out of the circle, clockwise from one to the next.
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const length = Math.hypot(dx, dy) || 1;
    const bow = n === 1 ? 0 : n === 2 ? 64 : 34;
    const control =
      n === 1
        ? { x: a.x, y: a.y - 110 }
        : { x: middle.x + (dy / length) * bow * 1.6, y: middle.y - (dx / length) * bow * 1.6 };
    const [start, end] =
      n === 1
        ? [
            { x: a.x - 50, y: a.y },
            { x: a.x + 50, y: a.y },
          ]
        : [a, b];
    const [from, to] = [edgeOf(start, control), edgeOf(end, control)];
    const label = { x: (from.x + 2 * control.x + to.x) / 4, y: (from.y + 2 * control.y + to.y) / 4 };
    return { path: `M${from.x} ${from.y}Q${control.x} ${control.y} ${to.x} ${to.y}`, label, wants };
  });
  const words = round
    .map(({ owner, holds, wants }) => `${owner} holds ${holds.join(", ")} and wants ${wants}`)
    .join("; ");
  return (
    <div class="picture fits">
      <svg
        width={width}
        height={height}
        viewBox={`0 0 ${width} ${height}`}
        role="img"
        aria-label={`A deadlock: ${words}`}
      >
        <Arrow id="arrow-bad" />
        {arrows.map(({ path }) => (
          <path key={path} class="edge deadlock" d={path} marker-end="url(#arrow-bad)" />
        ))}
        {arrows.map(({ label, wants }, index) => (
          <g key={`${index} ${wants}`} class="want" transform={`translate(${label.x} ${label.y})`}>
            <title>{`wants ${wants}`}</title>
            <rect x={-textWidth(wants) / 2} y={-12} width={textWidth(wants)} height={24} rx={5} />
            <text y={4}>{`wants ${cut(wants)}`}</text>
          </g>
        ))}
        {round.map(({ owner, token, holds }, index) => {
          const { x, y } = at(index);
          const below = token === undefined ? "" : `has ${cut(holds.join(", "), 16)} · #${token}`;
          return (
            <Box
              key={`${index} ${owner}`}
              x={x - BOX.width / 2}
              y={y - BOX.height / 2}
              kind="holder"
              title={owner}
              below={below}
            />
          );
        })}
      </svg>
    </div>
  );
}

/** Where a line from the middle of a box towards a point leaves it, with a little room for the arrow. */
function edgeOf(
  middle: { readonly x: number; readonly y: number },
  to: { readonly x: number; readonly y: number },
) {
  const [dx, dy] = [to.x - middle.x, to.y - middle.y];
  const scale = Math.min(
    (BOX.width / 2 + 8) / Math.abs(dx || 1e-9),
    (BOX.height / 2 + 8) / Math.abs(dy || 1e-9),
  );
  return { x: middle.x + dx * Math.min(1, scale), y: middle.y + dy * Math.min(1, scale) };
}

function Arrow({ id }: { readonly id: string }) {
  return (
    <defs>
      <marker id={id} viewBox="0 0 8 8" refX={6} refY={4} markerWidth={8} markerHeight={8} orient="auto">
        <path d="M0 0l8 4l-8 4z" />
      </marker>
    </defs>
  );
}

function textWidth(text: string): number {
  return 52 + cut(text).length * 7;
}

/** By characters as one sees them: half of one is none. And one that turns the direction of others is closed off. */
function cut(text: string, max = TEXT_MAX): string {
  const parts = [...new Intl.Segmenter().segment(text.slice(0, max * 12))].map(({ segment }) => segment);
  const short = parts.length > max ? `${parts.slice(0, max - 1).join("")}…` : text.slice(0, max * 12);
  return `\u2068${short.replace(/[\u202a-\u202e\u2066-\u2069]/g, "")}\u2069`;
}
