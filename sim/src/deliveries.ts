import type { Command, DurableChange, HoldRecord } from "../../packages/server/dist/engine/commands.js";
import { decodeRecord } from "../../packages/server/dist/store/records.js";
import type { Change } from "../../packages/server/dist/store/store.js";
import type { World } from "./world.js";

/** Where the ends of some detached holds are to be told. Nobody sends it: what is looked at is that it is owed. */
export const HOOK_URL = "https://hook.example/";

const HOLD = /^default\/service\/([^/]+)\/hold\/(\d+)$/;
const DELIVERY = /^default\/delivery\/([^/]+)\/(\d+)\.(\d+)$/;

/** A delivery is there exactly when a hold with a webhook is over, from the same batch on, once a name (C5). */
export class Deliveries {
  readonly #world: World;
  /** How many names the holds with a webhook have, as the engine has written them down: by service, then by token. */
  readonly #names = new Map<string, Map<string, number>>();

  constructor(world: World) {
    this.#world = world;
  }

  /** A hold of a request with a webhook is granted. */
  granted(service: string, token: number, webhookUrl: string | undefined): void {
    if (webhookUrl === undefined || this.#of(service).has(String(token))) return;
    this.#world.violate("C5", `token ${token} of ${service} is granted, and its webhook is not written down`);
  }

  /** What an engine starts with. */
  restored(service: string, records: ReadonlyMap<number, HoldRecord>): void {
    const names = this.#of(service);
    names.clear();
    for (const [token, record] of records) this.#wrote(service, String(token), record);
  }

  /** One step of the engine. */
  applied(service: string, command: Command, changes: readonly DurableChange[]): void {
    const owed = new Map<string, number>();
    for (const { type, id, value } of changes) {
      if (type === "delivery") {
        const token = id.slice(0, id.indexOf("."));
        owed.set(token, (owed.get(token) ?? 0) + 1);
      }
      if (type !== "hold") continue;
      const before = this.#of(service).get(id) ?? 0;
      this.#wrote(service, id, value);
      if (before === 0 || this.#of(service).has(id)) continue;
      // What is taken back has never been held.
      const wanted = command.kind === "cancel" ? 0 : before;
      const got = owed.get(id) ?? 0;
      owed.delete(id);
      if (got !== wanted)
        this.#wrong(`${command.kind} ends token ${id} of ${service}: ${got} owed, not ${wanted}`);
    }
    for (const token of owed.keys()) this.#wrong(`${token} of ${service} is owed, and has not ended`);
  }

  /** One batch reaches the disk, on which these records are. */
  written(records: ReadonlyMap<string, Uint8Array>, batch: readonly Change[]): void {
    const ended = new Set<string>();
    for (const { key, value } of batch) {
      const [, service, token] = HOLD.exec(key) ?? [];
      if (token === undefined) continue;
      const isOver = value === null || (decodeRecord({ key, value }) as HoldRecord).remainder;
      if (isOver) ended.add(`${service}/${token}`);
    }
    for (const { key } of batch) {
      const [, service, token] = DELIVERY.exec(key) ?? [];
      if (token === undefined) continue;
      if (!ended.has(`${service}/${token}`)) this.#wrong(`${key} is stored without the end of its hold`);
      if (records.has(key)) this.#wrong(`${key} is stored twice`);
    }
  }

  #of(service: string): Map<string, number> {
    const names = this.#names.get(service) ?? new Map<string, number>();
    this.#names.set(service, names);
    return names;
  }

  #wrote(service: string, token: string, record: HoldRecord | null): void {
    const names = this.#of(service);
    if (record?.webhookUrl === undefined) names.delete(token);
    else names.set(token, typeof record.names === "string" ? 1 : record.names.length);
  }

  #wrong(what: string): void {
    this.#world.violate("C5", what);
  }
}
