/** The same for a browser. A page has few entries that come and go, and the browser's own map need not be loaded. */
export class NumberMap<V> extends Map<number, V> {}
