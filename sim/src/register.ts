import type { World } from "./world.js";

/** A place outside the lock service that looks at tokens (F1): what is written there late is refused. */
export class Registers {
  readonly #world: World;
  readonly #byLock = new Map<string, { value: number; writes: number; token: number }>();

  constructor(world: World) {
    this.#world = world;
  }

  /** Null: somebody with a higher token was here. */
  read(lock: string, token: number): number | null {
    const register = this.#of(lock);
    if (token < register.token) return null;
    register.token = token;
    return register.value;
  }

  write(lock: string, token: number, value: number): void {
    const register = this.#of(lock);
    if (token < register.token) return;
    register.token = token;
    register.writes++;
    register.value = value;
    if (register.value === register.writes) return;
    this.#world.violate(
      "F1",
      `an update of ${lock} under token ${token} was lost: two holders had one token`,
      lock,
    );
  }

  #of(lock: string) {
    let register = this.#byLock.get(lock);
    if (register === undefined) {
      register = { value: 0, writes: 0, token: 0 };
      this.#byLock.set(lock, register);
    }
    return register;
  }
}
