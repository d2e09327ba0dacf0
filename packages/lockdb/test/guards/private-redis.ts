import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

type Answer = string | number | null | Error | Answer[];

/** True, or false and a warning. */
export function hasRedis(): boolean {
  try {
    execFileSync("redis-server", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    console.warn(
      "SKIPPED: the fence in Redis was not tested, since there is no redis-server here (Debian: redis-server).",
    );
    return false;
  }
}

/** A Redis server for one test file, on a socket in a folder of its own, and one connection to it. */
export class PrivateRedis {
  readonly #server: ChildProcess;
  readonly #folder: string;
  readonly #socket: Socket;
  readonly #waiting: ((answer: Answer) => void)[] = [];
  #input = "";

  private constructor(server: ChildProcess, folder: string, socket: Socket) {
    this.#server = server;
    this.#folder = folder;
    this.#socket = socket;
    // Latin 1, so that a length in bytes is one in characters.
    socket.setEncoding("latin1").on("data", (text: string) => this.#read(text));
  }

  static async start(): Promise<PrivateRedis> {
    const folder = mkdtempSync(join(tmpdir(), "fence-redis-"));
    const path = join(folder, "redis.sock");
    const args = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder];
    const server = spawn("redis-server", args, { stdio: ["ignore", "pipe", "ignore"] });
    let said = "";
    for await (const text of server.stdout) {
      said += text;
      if (/[Rr]eady to accept connections/.test(said)) break;
    }
    if (server.exitCode !== null) throw new Error(`redis-server ended.\n${said}`);
    const socket = createConnection(path);
    await once(socket, "connect");
    return new PrivateRedis(server, folder, socket);
  }

  /** Sends a command as words, as any client does. Errors of Redis reject. */
  readonly send = async (words: readonly string[]): Promise<unknown> => {
    const bulk = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("");
    this.#socket.write(`*${words.length}\r\n${bulk}`);
    const answer = await new Promise<Answer>((resolve) => this.#waiting.push(resolve));
    if (answer instanceof Error) throw answer;
    return answer;
  };

  async stop(): Promise<void> {
    this.#socket.destroy();
    this.#server.kill();
    await once(this.#server, "exit");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #read(text: string): void {
    this.#input += text;
    for (;;) {
      const found = parsed(this.#input, 0);
      if (found === null) return;
      this.#input = this.#input.slice(found.end);
      this.#waiting.shift()!(found.answer);
    }
  }
}

/** One answer of RESP 2 that begins at `at`, and where it ends; null when it is not there as a whole yet. */
function parsed(input: string, at: number): { readonly answer: Answer; readonly end: number } | null {
  const lineEnd = input.indexOf("\r\n", at);
  if (lineEnd < 0) return null;
  const [kind, line, next] = [input[at], input.slice(at + 1, lineEnd), lineEnd + 2];
  switch (kind) {
    case ":":
      return { answer: Number(line), end: next };
    case "-":
      return { answer: new Error(line), end: next };
    case "$": {
      if (line === "-1") return { answer: null, end: next };
      const end = next + Number(line) + 2;
      const text = Buffer.from(input.slice(next, end - 2), "latin1").toString();
      return end > input.length ? null : { answer: text, end };
    }
    case "*": {
      const items: Answer[] = [];
      let end = next;
      while (items.length < Number(line)) {
        const item = parsed(input, end);
        if (item === null) return null;
        items.push(item.answer);
        end = item.end;
      }
      return { answer: items, end };
    }
    default:
      return { answer: line, end: next };
  }
}
