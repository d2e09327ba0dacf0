// One server under load, hurt again and again. Lanes go on side by side: most of a round is waiting.
import { clockMs } from "./stage.js";
import { judgedLoad, Load, lostOf, well } from "./under-load.js";

const SERVICES = 2;
const CLIENTS = 6;
/** What was seen of a name is judged in one search, which has its limits. */
const ROUNDS_A_NAME = 3;
/** So many of the last acknowledged changes are looked at after each round; at the end all are. */
const RECENT = 60;
const WELL_MS = 30_000;
/** A crash leaves detached holds to nobody: they should not be in the way for long. */
const TERMS = { pauseMs: 15, oneTimePauseMs: 60, detachedMs: 3_000, longMs: 2_000, hasPassersBy: false };

export class Lane {
  server;
  load;
  services;
  lost = new Set();
  /** @type {{ fromMs: number, untilMs: number }[]} */
  faults = [];
  /** @type {string[]} */
  problems = [];
  /** @type {number[]} */
  wellMs = [];
  /** Ends of the server that this fault may bring about: it is started again, as a supervisor would. None, unless it is said. @type {(end: string) => boolean} */
  mayEnd = () => false;
  /** @type {Record<string, string>} */
  startEnv = {};
  /** How often it did. */
  ends = 0;

  /**
   * @param {import("./stage.js").Stage} stage
   * @param {number} number
   * @param {object} [options]
   * @param {import("./single.js").SingleOptions} [options.single]
   * @param {object} [options.terms] of the load
   */
  static async open(stage, number, { single = {}, terms = {} } = {}) {
    const services = Array.from({ length: SERVICES }, (_, at) => `l${number}s${at}`);
    const server = await stage.single(single);
    const load = new Load(stage, {
      services: Array.from({ length: CLIENTS }, (_, at) => services[at % SERVICES]),
      urls: [server.url],
      processes: 1,
      terms: { ...TERMS, ...terms },
    });
    await load.moreGrants(CLIENTS);
    return new Lane(server, load, services);
  }

  constructor(server, load, services) {
    this.server = server;
    this.load = load;
    this.services = services;
  }

  /** Hurts the server, and sees that all is as it was. `hurt` resolves when the server should be on its way back. */
  async round(round, name, hurt) {
    if (round % ROUNDS_A_NAME === 0) await this.load.period(round / ROUNDS_A_NAME);
    const fromMs = clockMs();
    await hurt();
    const healedMs = clockMs();
    const isWell = await this.#restarting(() => well([this.server.url], this.services, healedMs + WELL_MS));
    const untilMs = clockMs();
    this.faults.push({ fromMs, untilMs });
    this.wellMs.push(untilMs - healedMs);
    if (!isWell) this.problems.push(`${name}: not well within ${WELL_MS} ms`);
    if (this.server.child.isOver)
      this.problems.push(`${name}: the server has ended: ${this.server.child.end}`);
    this.load.look();
    const lost = await this.#restarting(() => lostOf([this.server], this.load.entries, RECENT));
    for (const each of lost) this.lost.add(`${name}: ${each}`);
  }

  /** Does it again when the server has ended meanwhile, and may. */
  async #restarting(look) {
    for (;;) {
      const { child } = this.server;
      const looked = look();
      looked.catch(() => {});
      await Promise.race([looked.catch(() => {}), child.ended]);
      if (!child.isOver || !this.mayEnd(child.end)) return looked;
      this.ends++;
      await this.server.start({ env: this.startEnv });
    }
  }

  /** All that was acknowledged, seen once more. */
  async close() {
    await this.load.stop();
    for (const each of await this.#restarting(() => lostOf([this.server], this.load.entries)))
      this.lost.add(each);
  }
}

/** @param {readonly Lane[]} lanes */
export function judgedLanes(lanes) {
  const all = (/** @type {(lane: Lane) => Iterable<any>} */ of) => lanes.flatMap((lane) => [...of(lane)]);
  for (const each of all(({ problems }) => problems).slice(0, 40)) console.log(`  ! ${each}`);
  return {
    figures: judgedLoad(
      all(({ load }) => load.entries),
      { faults: all(({ faults }) => faults), lost: new Set(all(({ lost }) => lost)) },
    ),
    problems: all(({ problems }) => problems).length,
    wellMs: all(({ wellMs }) => wellMs),
  };
}

/** Runs rounds in lanes, each number once. @param {(lane: Lane, round: number) => Promise<void>} one */
export async function inLanes(lanes, rounds, one) {
  let next = 0;
  await Promise.all(
    lanes.map(async (lane) => {
      for (let own = 0; next < rounds; own++) await one(lane, next++, own);
    }),
  );
}
