/** A bug that is planted on purpose, and what finds it. */
export interface Mutant {
  readonly id: string;
  /** The rule of SPEC.md that it breaks. */
  readonly rule: string;
  readonly file: string;
  /** Text that occurs exactly once in the file. */
  readonly find: string;
  /** What stands there instead: the same lines but for one. */
  readonly put: string;
  /** What goes wrong. */
  readonly wrong: string;
  readonly killedBy: SeedKiller | TestKiller;
}

/** A run of the simulator that finds a violation. */
export interface SeedKiller {
  readonly seed: number;
  readonly steps: number;
  /** Clocks further apart than leases allow. */
  readonly wild?: boolean;
  /** Of a cluster, and not of one server. */
  readonly cluster?: boolean;
}

/** A test that fails. */
export interface TestKiller {
  readonly test: string;
  /** What its name begins with, such as `[Q8b]`. */
  readonly name: string;
}

export declare const MUTANTS: readonly Mutant[];

/** What is wrong with the list itself, row by row. */
export declare function problemsOf(read: (file: string) => string): readonly string[];

/** The page docs/mutants.md. */
export declare function page(): string;

export declare function isSeed(killer: SeedKiller | TestKiller): killer is SeedKiller;
