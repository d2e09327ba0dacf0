import { type Compare, endOf, type Op } from "../store/etcd-api.js";
import { COMMON_VERSION, MEMBERS, OWNERS, SHARES } from "./keys.js";
import { fenceKey, written } from "./records.js";

/** What members say to etcd, below the prefix of their cluster. */
export class Words {
  /** What all keys of the cluster begin with. */
  readonly at: string;

  constructor(at: string) {
    this.at = at;
  }

  /** The record has this value. */
  is(key: string, value: Uint8Array): Compare {
    return { key: `${this.at}${key}`, value };
  }

  absent(key: string): Compare {
    return { key: `${this.at}${key}`, revision: 0 };
  }

  /** The member has not been fenced: the condition of all that it does. */
  isThere(memberId: string): Compare {
    return this.is(fenceKey(memberId), written(fenceKey(memberId), { member: memberId }).value);
  }

  put({ key, value }: ReturnType<typeof written>): Op {
    return { put: `${this.at}${key}`, value };
  }

  delete(key: string): Op {
    return { delete: `${this.at}${key}` };
  }

  get(key: string): Op {
    return { get: `${this.at}${key}` };
  }

  /** All members, all owners, whether what is common has changed, and what each member shares. */
  look(): Op[] {
    return [this.#all(MEMBERS), this.#all(OWNERS), this.get(COMMON_VERSION), this.#all(SHARES)];
  }

  #all(area: string): Op {
    return { get: `${this.at}${area}`, end: endOf(`${this.at}${area}`) };
  }

  /** The rest of a key, behind its area. */
  nameIn(key: Buffer, area: string): string {
    return key.toString().slice(this.at.length + area.length);
  }
}
