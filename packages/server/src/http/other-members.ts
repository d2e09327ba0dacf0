/** What every member of the cluster has a part of: it is asked of all of them, and put together. */
import { Agent, type IncomingMessage, request as sendRequest } from "node:http";
import { Agent as SecureAgent, request as sendSecurely } from "node:https";
import { callerHeaders } from "./addresses.js";
import {
  asksForPart,
  FORWARDED_BY,
  FORWARDED_SECRET,
  type HttpCluster,
  ONLY_HERE,
  type OtherMember,
  pathOf,
} from "./cluster.js";
import type { MemberTls } from "./upstreams.js";

/** Who has not answered by then is left out, and the answer says so. */
const ANSWER_MS = 2_000;
const ANSWER_BYTES_MAX = 16 * 1_024 * 1_024;
const CONNECTIONS_MAX = 8;

export interface Heard {
  readonly status: number;
  readonly body: unknown;
}

export interface AllHeard {
  /** What the others have answered. */
  readonly answers: readonly Heard[];
  /** Ids of those that have not answered, or not with JSON. */
  readonly missing: readonly string[];
}

const NOBODY: AllHeard = { answers: [], missing: [] };

/** The other members, to be asked with the key of whoever asks here. */
export class OtherMembers {
  readonly #cluster: HttpCluster;
  readonly #tls: () => MemberTls;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX });
  readonly #secureAgent = new SecureAgent({ keepAlive: true, maxSockets: CONNECTIONS_MAX });

  constructor(cluster: HttpCluster, tls: () => MemberTls) {
    this.#cluster = cluster;
    this.#tls = tls;
  }

  close(): void {
    this.#agent.destroy();
    this.#secureAgent.destroy();
  }

  /**
   * Asks each of them the same, once. An answer other than 200 counts as none. Whoever was asked so asks nobody.
   * @param path with the query; default: that of the request
   */
  async ask(request: IncomingMessage, path = pathOf(request)): Promise<AllHeard> {
    if (asksForPart(request)) return NOBODY;
    const others = this.#cluster.others();
    const heard = await Promise.all(others.map((member) => this.#askOne(member, request, "GET", path)));
    const isGood = (answer: Heard | null) => answer?.status === 200;
    return {
      answers: heard.filter((answer): answer is Heard => isGood(answer)),
      missing: others.filter((_, at) => !isGood(heard[at]!)).map(({ id }) => id),
    };
  }

  /** Asks one after the other, until one of them knows what it is asked about. Null: none of those that answer does. */
  async find(request: IncomingMessage): Promise<Heard | null> {
    if (asksForPart(request)) return null;
    const { method = "GET", url = "/" } = request;
    for (const member of this.#cluster.others()) {
      const heard = await this.#askOne(member, request, method, url);
      if (heard !== null && heard.status !== 404) return heard;
    }
    return null;
  }

  #askOne({ url, secret }: OtherMember, request: IncomingMessage, method: string, path: string) {
    return new Promise<Heard | null>((resolve) => {
      const headers = {
        authorization: request.headers.authorization ?? "",
        ...callerHeaders(request),
        [FORWARDED_BY]: this.#cluster.selfId,
        [FORWARDED_SECRET]: secret,
        [ONLY_HERE]: "1",
        ...(method === "GET" ? {} : { "content-length": 0 }),
      };
      const target = url.replace(/\/+$/, "") + path;
      const options = { method, headers, signal: AbortSignal.timeout(ANSWER_MS) };
      const asked = target.startsWith("https:")
        ? sendSecurely(target, { ...options, ...this.#tls(), agent: this.#secureAgent })
        : sendRequest(target, { ...options, agent: this.#agent });
      asked.on("error", () => resolve(null));
      asked.once("response", (answer) => {
        const { statusCode: status = 0 } = answer;
        jsonOf(answer).then(
          (body) => resolve({ status, body }),
          () => resolve(null),
        );
      });
      asked.end();
    });
  }
}

/** The field that says who is missing, where somebody is. */
export function missingIn(all: AllHeard | null): { readonly missing?: readonly string[] } {
  return all === null || all.missing.length === 0 ? {} : { missing: all.missing };
}

async function jsonOf(answer: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > ANSWER_BYTES_MAX) throw new Error("an answer without an end");
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}
