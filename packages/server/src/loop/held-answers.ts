import type { Answer, EngineEvent } from "../engine/index.js";
import type { Service } from "./service.js";

type Tell = (service: Service, answers: readonly Answer[], events: readonly EngineEvent[]) => void;

/** What must not overtake changes that are not flushed yet (R1), service by service. */
export class HeldAnswers {
  readonly #services = new Set<Service>();

  add(service: Service, answers: readonly Answer[], events: readonly EngineEvent[]): void {
    service.held.push({ batch: service.waitsFor, answers, events });
    service.heldCount += answers.length;
    this.#services.add(service);
  }

  /** Tells what has waited for this batch, or for one before it. */
  flushed(batch: number, tell: Tell): void {
    for (const service of this.#services) {
      while (service.held.length > 0 && service.held[0]!.batch <= batch) {
        const { answers, events } = service.held.shift()!;
        service.heldCount -= answers.length;
        tell(service, answers, events);
      }
      if (service.held.length === 0) this.#services.delete(service);
    }
  }

  /** What this service has here is not told any more. */
  forget(service: Service): void {
    this.#services.delete(service);
  }

  clear(): void {
    this.#services.clear();
  }
}
