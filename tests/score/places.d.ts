/** One place made wrong. */
export interface Mutant {
  readonly id: number;
  readonly file: string;
  readonly line: number;
  readonly start: number;
  readonly end: number;
  readonly put: string;
  readonly from: string;
  readonly kind: string;
  /** The block that it is in, by its mark. */
  readonly mark: number;
}

export const SEEN: string;

export function mutantsIn(
  bundle: {
    readonly code: string;
    readonly placeOf: (offset: number) => { readonly file: string; readonly line: number };
  },
  isMutated: (file: string) => boolean,
): { readonly mutants: readonly Mutant[]; readonly marked: string; readonly markCount: number };
