/** What a client's sessions have in common. */
export interface SessionOptions {
  readonly service: string;
  readonly apiKey: string;
  readonly urls: readonly string[];
  readonly leaseMs: number;
  readonly owner: string;
}
