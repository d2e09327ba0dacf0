export interface Equivalent {
  readonly file: string;
  /** The text of its line. */
  readonly line: string;
  /** What stands there; absent: anything of the line. */
  readonly from?: string;
  /** What is put there; absent: anything. */
  readonly to?: string;
  readonly why: string;
}

export const EQUIVALENTS: readonly Equivalent[];
