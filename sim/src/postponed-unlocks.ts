import type { Answer, Command } from "../../packages/server/dist/engine/commands.js";

/** Unlocks by name that wait for the end of a recovery: what ends in that step may have ended by one of them. */
export class PostponedUnlocks {
  /** Their locks, by address and request. */
  readonly #locks = new Map<string, string>();

  /** A server has started: nothing waits there any more. */
  restored(isOfService: (lock: string) => boolean): void {
    for (const [request, lock] of this.#locks) if (isOfService(lock)) this.#locks.delete(request);
  }

  /** @returns the locks that such ones have freed by this command */
  freedBy(command: Command, answers: readonly Answer[]): ReadonlySet<string> {
    const freed = new Set<string>();
    for (const { to, message } of answers) {
      const request = `${to} ${message[1]}`;
      const lock = this.#locks.get(request);
      if (lock !== undefined && message[0] === "done" && message[2] === true) freed.add(lock);
      this.#locks.delete(request);
    }
    const isAnswered = answers.some(({ message }) => "id" in command && message[1] === command.id);
    if (command.kind === "unlock" && !isAnswered) {
      this.#locks.set(`${command.address} ${command.id}`, command.name);
    }
    return freed;
  }
}
