const FAILURES_MAX = 5;
const FIRST_MS = 30_000;
const LONGEST_MS = 600_000;

/**
 * Keeps attempts away from a target that is down. After five failures in a row it is open: nothing goes for a while. Then
 * one attempt goes, a probe: its success closes the breaker, its failure opens it for twice as long.
 */
export class Breaker {
  #failures = 0;
  #openMs = 0;
  #untilMs = 0;
  #isProbing = false;

  get isOpen(): boolean {
    return this.#openMs > 0;
  }

  /** When a probe may go. Only for an open one. */
  get probeAtMs(): number {
    return this.#untilMs;
  }

  /** True when an attempt may begin; one that does begin is a probe if the breaker is open. */
  mayTry(nowMs: number): boolean {
    return !this.isOpen || (!this.#isProbing && nowMs >= this.#untilMs);
  }

  began(): void {
    this.#isProbing = this.isOpen;
  }

  /** @returns true when the target is back */
  succeeded(): boolean {
    const wasOpen = this.isOpen;
    this.#failures = 0;
    this.#openMs = 0;
    this.#isProbing = false;
    return wasOpen;
  }

  /**
   * @param chance from 0 to 1: of the time that it stays open, half is left to chance
   * @returns true when this failure has opened it
   */
  failed(nowMs: number, chance: number): boolean {
    const wasProbe = this.#isProbing;
    // Those that were on their way when it opened say nothing new.
    if (this.isOpen && !wasProbe) return false;
    this.#isProbing = false;
    this.#failures++;
    if (!wasProbe && this.#failures < FAILURES_MAX) return false;
    this.#openMs = wasProbe ? Math.min(LONGEST_MS, this.#openMs * 2) : FIRST_MS;
    this.#untilMs = nowMs + this.#openMs / 2 + (this.#openMs / 2) * chance;
    return !wasProbe;
  }

  /** Somebody asks for an attempt now. */
  probeNow(): void {
    this.#untilMs = 0;
  }
}
