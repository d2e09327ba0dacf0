import { createHash } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gate } from "./gate.js";

export type Kind = "s3" | "gcs" | "azure";

interface StoredObject {
  readonly body: string;
  readonly version: string;
  readonly metadata: Readonly<Record<string, string>>;
}

interface Held {
  readonly arrived: Promise<void>;
  readonly letGo: () => void;
}

/**
 * A stand-in for one bucket that keeps the conditions of one provider as that documents them. A request can be held
 * between its arrival and its effect, and an answer can be lost after the effect.
 */
export class Bucket {
  readonly #kind: Kind;
  readonly #objects = new Map<string, StoredObject>();
  readonly #server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => {
      body += text;
    });
    request.once("end", () => {
      const { method = "", url = "", headers } = request;
      void this.#answer({ method, key: url.slice(1), headers, body }, response);
    });
  });
  #writeCount = 0;
  #hold: { arrived(): void; readonly goOn: Promise<void> } | null = null;
  #losesNextAnswer = false;

  constructor(kind: Kind) {
    this.#kind = kind;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** A request as a service would send it, less the signature. */
  readonly send = (key: string, request: RequestInit): Promise<Response> => {
    const { port } = this.#server.address() as AddressInfo;
    return fetch(`http://127.0.0.1:${port}/${key}`, { ...request, signal: AbortSignal.timeout(5_000) });
  };

  /** The next PUT arrives, and has no effect until it is let go. */
  holdNextPut(): Held {
    const [arrived, goOn] = [gate(), gate()];
    this.#hold = { arrived: arrived.open, goOn: goOn.opened };
    return { arrived: arrived.opened, letGo: goOn.open };
  }

  /** The next PUT has its effect, and its answer does not arrive. */
  loseNextAnswer(): void {
    this.#losesNextAnswer = true;
  }

  async #answer(
    request: { method: string; key: string; headers: IncomingHttpHeaders; body: string },
    response: ServerResponse,
  ): Promise<void> {
    if (request.method === "GET") {
      const found = this.#objects.get(request.key);
      if (found === undefined) response.writeHead(404).end();
      else response.writeHead(200, { ...this.#versionHeader(found), ...found.metadata }).end(found.body);
      return;
    }
    const hold = this.#hold;
    this.#hold = null;
    hold?.arrived();
    await hold?.goOn;
    const status = this.#refusal(this.#objects.get(request.key), request.headers) ?? this.#put(request);
    if (this.#losesNextAnswer) {
      this.#losesNextAnswer = false;
      response.destroy();
    } else {
      response.writeHead(status).end();
    }
  }

  #put({ key, headers, body }: { key: string; headers: IncomingHttpHeaders; body: string }): number {
    this.#writeCount++;
    const metadata = Object.entries(headers).filter(([name]) => name.startsWith("x-amz-meta-"));
    this.#objects.set(key, {
      body,
      version: this.#versionOf(body),
      metadata: Object.fromEntries(metadata) as Record<string, string>,
    });
    return this.#kind === "azure" ? 201 : 200;
  }

  /** The status with which the conditions of a PUT refuse it, or null. */
  #refusal(found: StoredObject | undefined, headers: IncomingHttpHeaders): number | null {
    const [same, none] = [headers["if-match"], headers["if-none-match"]];
    const generation = headers["x-goog-if-generation-match"];
    switch (this.#kind) {
      case "s3":
        if (none === "*" && found !== undefined) return 412;
        if (same !== undefined && found === undefined) return 404;
        return same !== undefined && same !== found?.version ? 412 : null;
      case "gcs":
        return generation !== undefined && generation !== (found?.version ?? "0") ? 412 : null;
      case "azure":
        if (headers["x-ms-blob-type"] === undefined) return 400;
        if (none === "*" && found !== undefined) return 409;
        return same !== undefined && same !== found?.version ? 412 : null;
    }
  }

  /** Of S3 the digest of the body, without the metadata; of the others new with every write. */
  #versionOf(body: string): string {
    switch (this.#kind) {
      case "s3":
        return `"${createHash("md5").update(body).digest("hex")}"`;
      case "gcs":
        return String(1_700_000_000_000_000 + this.#writeCount);
      case "azure":
        return `"0x8D${this.#writeCount.toString(16).toUpperCase().padStart(13, "0")}"`;
    }
  }

  #versionHeader({ version }: StoredObject): Record<string, string> {
    return this.#kind === "gcs" ? { "x-goog-generation": version } : { etag: version };
  }
}
