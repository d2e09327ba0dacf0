/** What one transaction takes. */
export interface SliceLimits {
  readonly itemsMax: number;
  readonly bytesMax: number;
}

/** So many that each fits into one transaction. An item that is larger by itself has one of its own. */
export function slicesOf<T>(
  items: Iterable<T>,
  sizeOf: (item: T) => number,
  { itemsMax, bytesMax }: SliceLimits,
): T[][] {
  const slices: T[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const size = sizeOf(item);
    if (bytes + size > bytesMax || slices.at(-1)!.length === itemsMax) {
      slices.push([]);
      bytes = 0;
    }
    slices.at(-1)!.push(item);
    bytes += size;
  }
  return slices;
}
