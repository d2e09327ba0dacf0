import type { Command } from "commander";
import { errorOf, LockDBError } from "../client/errors.js";
import { withApi } from "./access-args.js";
import { type Crowd, crowdForm } from "./answers.js";
import { addServerFlags, type Print, SERVER_URL_DEFAULT, type ServerFlags, serviceIdOf } from "./args.js";
import { hasColours } from "./colour.js";
import type { HttpApi } from "./http.js";
import { plainLines, rowsATable, screenLines, type TopView } from "./top-screen.js";
import { jsonLine } from "./words.js";

const LOOK_MS = 2_000;
/** Between the two looks that a rate is made of, where there are no more. */
const ONCE_MS = 1_000;
const ROWS_ONCE = 10;

interface TopFlags extends ServerFlags {
  readonly once?: true;
}

/** `top`: where it is crowded, as it changes. */
export function addTopCommand(program: Command): void {
  const top = program
    .command("top")
    .summary("show hot locks, long waits and old holds, as they change")
    .description(
      "Shows where it is crowded, and looks again every two seconds: locks with the longest queues, requests that have waited longest, holds that " +
        "have lasted longest, and grants a second. Of one service, or without a service id of all in the account. It needs a key with the scope read.",
    );
  addServerFlags(top)
    .option("--once", "print it once, and end; so it is, too, where standard output is no terminal")
    .addHelpText("after", TOP_HELP)
    .action((flags: TopFlags) =>
      withApi(flags, (api, print) => {
        const isLive = process.stdout.isTTY === true && flags.once !== true && flags.json !== true;
        return isLive ? showLive(api, flags) : printOnce(api, flags, print);
      }),
    );
}

const TOP_HELP = `
Keys: q quits, space looks now. When the server is lost it says so, and goes on
when that is back. --json prints one object, as GET /v1/contention answers, with
grantsPerS. Grants are counted for a second before it is printed once.

Examples:
  lockdb top
  lockdb top -i billing --once
  lockdb top --json | jq '.hottest[0].lock.name'`;

/** Looks again and again, and knows how many grants there were between. */
class Looks {
  readonly #api: HttpApi;
  readonly #path: string;
  #last: { readonly crowd: Crowd; readonly atMs: number } | null = null;

  constructor(api: HttpApi, flags: ServerFlags) {
    this.#api = api;
    this.#path = flags.serviceId
      ? `/v1/services/${encodeURIComponent(serviceIdOf(flags))}/contention`
      : "/v1/contention";
  }

  async look(limit: number): Promise<{ readonly crowd: Crowd; readonly grantsPerS: number | null }> {
    const crowd = await this.#api.ask(this.#path, { query: { limit }, read: crowdForm }).catch((error) => {
      throw this.#explained(error);
    });
    const atMs = performance.now();
    const last = this.#last;
    this.#last = { crowd, atMs };
    const grants = last === null ? -1 : crowd.grants - last.crowd.grants;
    // Fewer than before: the server was started anew.
    const isKnown = last !== null && grants >= 0 && atMs > last.atMs;
    return { crowd, grantsPerS: isKnown ? (grants * 1_000) / (atMs - last.atMs) : null };
  }

  #explained(error: unknown): unknown {
    const { code } = error as { readonly code?: unknown };
    if (code === "NOT_FOUND")
      return errorOf(code, "The server does not know this: it is older than this command. Upgrade it.");
    if (code === "FORBIDDEN" && this.#path === "/v1/contention")
      return errorOf(
        code,
        "This API key may not look at all services. Say -i <id>, or use a key with the scope read for all.",
      );
    return error;
  }
}

async function printOnce(api: HttpApi, flags: ServerFlags, print: Print): Promise<void> {
  const looks = new Looks(api, flags);
  await looks.look(1);
  await new Promise((resolve) => setTimeout(resolve, ONCE_MS));
  const { crowd, grantsPerS } = await looks.look(ROWS_ONCE);
  if (flags.json) return print(jsonLine({ ...crowd, grantsPerS }));
  for (const line of plainLines({ crowd, grantsPerS, title: "", lost: null })) await print(line);
}

async function showLive(api: HttpApi, flags: ServerFlags): Promise<void> {
  const looks = new Looks(api, flags);
  const place = `${flags.serviceId || "all services"} at ${flags.serverUrl || SERVER_URL_DEFAULT}`;
  const terminal = new Terminal();
  let view: TopView = { crowd: null, grantsPerS: null, title: `lockdb top   ${place}`, lost: null };
  let lostAt: string | null = null;
  const draw = () => terminal.draw((screen) => screenLines(view, screen));
  terminal.open(draw);
  try {
    while (!terminal.isLeft) {
      const startMs = performance.now();
      try {
        const looked = await Promise.race([looks.look(rowsATable(terminal.rows)), terminal.left]);
        if (looked === undefined) return;
        const { crowd, grantsPerS } = looked;
        lostAt = null;
        view = { ...view, crowd, grantsPerS, title: `lockdb top   ${place}   ${clockText()}`, lost: null };
      } catch (error) {
        if (!mayPass(error)) throw error;
        lostAt ??= clockText();
        view = { ...view, lost: `no answer since ${lostAt}, trying again: ${(error as Error).message}` };
      }
      draw();
      await terminal.key(Math.max(0, LOOK_MS - (performance.now() - startMs)));
    }
  } finally {
    terminal.close();
  }
}

/** The server may be back soon. */
function mayPass(error: unknown): boolean {
  return error instanceof LockDBError && error.retryable;
}

function clockText(): string {
  return new Date().toTimeString().slice(0, 8);
}

interface Size {
  readonly columns: number;
  readonly rows: number;
  readonly colours: boolean;
}

/** The terminal that standard output is: a screen of its own, left as it was. */
class Terminal {
  /** Resolves when somebody has had enough. */
  readonly left: Promise<void>;
  isLeft = false;
  #leave: () => void = () => {};
  #wake: () => void = () => {};
  #onResize: () => void = () => {};
  readonly #onKey = (keys: Buffer) => {
    // Ctrl-C comes as a key, since the terminal is raw.
    if (/[qQ\x03\x04]|^\x1b$/.test(keys.toString("latin1"))) {
      this.isLeft = true;
      this.#leave();
    }
    this.#wake();
  };

  constructor() {
    this.left = new Promise((resolve) => {
      this.#leave = resolve;
    });
  }

  get rows(): number {
    return process.stdout.rows || 24;
  }

  open(draw: () => void): void {
    const { stdin, stdout } = process;
    // A signal ends this process without another word from here.
    process.once("exit", this.#restore);
    // Another screen, without a cursor: what was there comes back at the end.
    stdout.write("\x1b[?1049h\x1b[?25l");
    this.#onResize = draw;
    stdout.on("resize", this.#onResize);
    if (!stdin.isTTY) return;
    stdin.setRawMode(true);
    stdin.on("data", this.#onKey);
    stdin.resume();
  }

  draw(lines: (screen: Size) => readonly string[]): void {
    const { columns = 80 } = process.stdout;
    const screen = { columns, rows: this.rows, colours: hasColours(process.stdout) };
    const text = lines(screen).map((line) => `${line}\x1b[K`);
    process.stdout.write(`\x1b[H${text.join("\r\n")}\x1b[J`);
  }

  /** Waits for so long, or for a key. */
  key(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.isLeft) this.#wake();
    });
  }

  close(): void {
    process.off("exit", this.#restore);
    process.stdout.off("resize", this.#onResize);
    process.stdin.off("data", this.#onKey);
    this.#restore();
  }

  readonly #restore = () => {
    const { stdin, stdout } = process;
    if (stdin.isTTY) {
      stdin.setRawMode(false);
      stdin.pause();
    }
    stdout.write("\x1b[?25h\x1b[?1049l");
  };
}
