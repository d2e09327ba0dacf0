import { elapsedMs, type Moment, trustedMs } from "../../packages/lockdb/dist/client/trust.js";
import type { Belief } from "./beliefs.js";
import { Clock } from "./clock.js";
import { HOOK_URL } from "./deliveries.js";
import { READ } from "./http-call.js";
import { exclusive } from "./modes.js";
import type { Network } from "./network.js";
import { Process } from "./process.js";
import type { Shared } from "./shared.js";

type Answer = readonly unknown[] | null;

const READ_WAIT_MS = 4_950;
const CLOSE_MS = 50;

/** Somebody with the original client: detached holds, unlock by name, and no second try when an answer is lost. */
export class HttpCaller {
  readonly process: Process;
  readonly #shared: Shared;
  readonly #network: Network;
  readonly #name: string;

  constructor(shared: Shared, network: Network, name: string) {
    const { world, plan } = shared;
    const { random } = world;
    this.#shared = shared;
    this.#network = network;
    this.#name = name;
    const rate = random.between(plan.rateMin, plan.rateMax);
    const clock = new Clock(world.nowMs, rate, random.between(0, 1e6), 1.7e12);
    this.process = new Process(world, name, clock, { ...plan.clientPace, stallChance: 0 });
    this.process.arrive(() => void this.#work());
  }

  async #work(): Promise<void> {
    const { world, plan } = this.#shared;
    const { random } = world;
    while (!this.#shared.draining) {
      await this.process.sleep(random.span(5, 5 + plan.work.thinkMsMax));
      if (this.#shared.draining) return;
      // Of the original client's locks none is a semaphore.
      const lock = random.pick(plan.locks);
      const kind = random.pick(["lock", "lock", "unlock", "check"]);
      if (kind === "lock") await this.#lock(lock);
      else if (kind === "unlock") await this.#unlock(lock);
      else
        await this.#call(
          { kind: "check", service: lock.split("/")[0], name: lock, waitMs: READ_WAIT_MS },
          READ_WAIT_MS,
        );
    }
  }

  async #lock(lock: string): Promise<void> {
    const { world, plan, recorder } = this.#shared;
    const { random } = world;
    const waitMs = Math.ceil(random.span(1, plan.work.waitMsMax));
    const detachedMs = Math.ceil(random.span(250, plan.work.detachedMsMax));
    const [calledMs, since] = [world.nowMs, this.#now()];
    const heard = recorder.addUnheard(lock, this.#name);
    world.story.note(lock, this.#name, () => `locks ${lock} for ${detachedMs}, waits ${waitMs}`);
    const patienceMs = random.chance(0.3) ? random.span(0.1, waitMs) : waitMs;
    const answer = await this.#call(
      {
        kind: "acquire",
        service: lock.split("/")[0],
        names: lock,
        waitMs,
        ...DETACHED,
        detachedMs,
        ...(detachedMs % 2 === 0 ? { webhookUrl: HOOK_URL } : {}),
        owner: this.#name,
      },
      patienceMs,
    );
    if (answer?.[0] !== "granted") return;
    heard();
    const token = answer[2] as number;
    world.story.note(lock, this.#name, () => `has ${lock} with token ${token}`);
    const belief = this.#believe(lock, token, detachedMs, { ...since, atMs: calledMs });
    const returnedMs = world.nowMs;
    recorder.add([lock], () => ({
      kind: "acquire",
      client: this.#name,
      calledMs,
      returnedMs,
      wants: [exclusive(lock)],
      token,
      detached: true,
      ticket: (answer[3] as { ticket?: number } | undefined)?.ticket ?? null,
      wasAway: false,
      mayEndFromMs: Math.min(belief.lastSeenMs, this.#shared.forcedMs(lock, token, calledMs)),
    }));
    await this.process.sleep(this.#shared.draining ? 1 : random.span(1, detachedMs));
    if (this.#shared.draining || random.chance(0.7)) await this.#unlock(lock);
  }

  #believe(lock: string, token: number, detachedMs: number, since: Moment & { atMs: number }): Belief {
    const { watch, beliefs } = this.#shared;
    const isFreed = () => !watch.detached.stands(lock.split("/")[0]!, token);
    const isHeld = () => !isFreed() && trustedMs(detachedMs) - elapsedMs(since, this.#now()) > 0;
    const belief = {
      lock,
      want: exclusive(lock),
      token,
      who: this.#name,
      isHeld,
      isOver: isFreed,
      // Nobody tells an HTTP caller.
      isForced: () => watch.endings.isForced(lock.split("/")[0]!, token, 0),
      wasForced: () => this.#shared.forcedMs(lock, token, since.atMs) !== Number.POSITIVE_INFINITY,
      lastSeenMs: since.atMs,
      mayReturn: true,
    };
    beliefs.add(belief);
    return belief;
  }

  async #unlock(lock: string): Promise<void> {
    const { world, recorder } = this.#shared;
    const span = {
      calledMs: world.nowMs,
      returnedMs: Number.POSITIVE_INFINITY,
      result: null as boolean | null,
    };
    let isRefused = false;
    recorder.add([lock], () => (isRefused ? null : { kind: "unlock", client: this.#name, lock, ...span }));
    world.story.note(lock, this.#name, () => `unlocks ${lock}`);
    const answer = await this.#call(
      { kind: "unlock", service: lock.split("/")[0], name: lock, waitMs: READ_WAIT_MS },
      READ_WAIT_MS,
    );
    if (answer?.[0] === "refused") isRefused = true;
    if (answer?.[0] !== "done") return;
    world.story.note(lock, this.#name, () => `hears that ${lock} was ${answer[2] ? "unlocked" : "free"}`);
    Object.assign(span, { result: answer[2] as boolean, returnedMs: world.nowMs });
  }

  /** One call on a connection of its own. Null: it broke, or the caller hung up before an answer came. */
  async #call(body: object, patienceMs: number): Promise<Answer> {
    const { process } = this;
    const wire = this.#network.connect(process, this.#name, "http");
    const answer = await new Promise<Answer>((resolve) => {
      const hangUp = process.setTimer(() => resolve(null), patienceMs);
      const settle = (value: Answer) => {
        hangUp();
        resolve(value);
      };
      wire.client.received = (item) => {
        if (item.kind === "open") wire.up.send({ kind: "data", text: JSON.stringify(body) }, process.localMs);
        if (item.kind === "data") settle((JSON.parse(item.text) as unknown[][])[0]!);
      };
      wire.client.closed = () => settle(null);
    });
    wire.client.received = () => {};
    if (answer !== null) wire.up.send({ kind: "data", text: READ }, process.localMs);
    if (answer !== null) await process.sleep(CLOSE_MS);
    wire.up.send({ kind: "fin" }, process.localMs);
    return answer;
  }

  #now(): Moment {
    return { monotonicMs: this.process.monotonicMs(), wallMs: this.process.wallMs() };
  }
}

const DETACHED = {
  minHoldMs: 0,
  maxHoldMs: null,
  metadata: {},
  ticket: null,
  within: [],
  reentrant: false,
  leads: false,
  stolenBy: null,
};
