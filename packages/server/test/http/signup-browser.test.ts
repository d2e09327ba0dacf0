import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import LockDB from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { Server } from "../../src/index.js";
import { startServer, within } from "./server.js";

const BROWSER = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
/** A browser on a busy machine takes its time. */
const PATIENCE_MS = 40_000;

// biome-ignore lint/suspicious/noExplicitAny: what the browser's own protocol says is not typed here.
type Json = any;

/** A page in Chromium, moved as a user would: by keys. */
class Page {
  readonly #child: ChildProcess;
  readonly #profile = mkdtempSync(join(tmpdir(), "lockdb-signup-"));
  readonly #answers = new Map<number, (message: Json) => void>();
  readonly #loaded: (() => void)[] = [];
  #socket!: WebSocket;
  #page: string | undefined;
  #idLast = 0;

  constructor() {
    const flags = [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--remote-debugging-port=0",
      // A name that is not this machine's to the browser, though it leads here.
      "--host-resolver-rules=MAP locks.test 127.0.0.1",
    ];
    this.#child = spawn(BROWSER!, [...flags, `--user-data-dir=${this.#profile}`, "about:blank"]);
  }

  async open(): Promise<void> {
    let said = "";
    for await (const chunk of this.#child.stderr!) {
      said += chunk;
      const address = /DevTools listening on (ws:\S+)/.exec(said)?.[1];
      if (address === undefined) continue;
      this.#socket = new WebSocket(address);
      break;
    }
    await once(this.#socket, "open");
    this.#socket.on("message", (data) => {
      const message = JSON.parse(String(data));
      this.#answers.get(message.id)?.(message.result);
      if (message.method === "Page.loadEventFired") this.#loaded.shift()?.();
    });
    const { targetId } = await this.#call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.#call("Target.attachToTarget", { targetId, flatten: true });
    this.#page = sessionId;
    await this.#call("Page.enable");
  }

  async close(): Promise<void> {
    this.#socket?.close();
    if (this.#child.exitCode === null && this.#child.kill()) await once(this.#child, "exit");
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10 });
  }

  goTo(url: string): Promise<void> {
    return this.#untilLoaded(() => this.#call("Page.navigate", { url }));
  }

  /** As a phone of that width. */
  resize(width: number): Promise<void> {
    const size = { width, height: 800, deviceScaleFactor: 1, mobile: false };
    return this.#call("Emulation.setDeviceMetricsOverride", size);
  }

  prefer(value: "light" | "dark"): Promise<void> {
    return this.#call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });
  }

  type(text: string): Promise<void> {
    return this.#call("Input.insertText", { text });
  }

  async press(key: "Tab" | "Enter"): Promise<void> {
    const code = key === "Tab" ? 9 : 13;
    const more = key === "Tab" ? {} : { text: "\r" };
    for (const type of ["keyDown", "keyUp"])
      await this.#call("Input.dispatchKeyEvent", {
        type,
        key,
        code: key,
        windowsVirtualKeyCode: code,
        ...more,
      });
  }

  async pressAndLoad(key: "Enter"): Promise<void> {
    await this.#untilLoaded(() => this.press(key));
  }

  /** Of an expression in the page. */
  async value<T>(expression: string): Promise<T> {
    return (await this.#call("Runtime.evaluate", { expression, returnByValue: true })).result.value;
  }

  async #untilLoaded(act: () => Promise<unknown>): Promise<void> {
    const loaded = new Promise<void>((resolve) => this.#loaded.push(resolve));
    await act();
    await within(PATIENCE_MS, "the page", loaded);
  }

  #call(method: string, params: object = {}): Promise<Json> {
    const id = ++this.#idLast;
    const more = this.#page === undefined ? {} : { sessionId: this.#page };
    this.#socket.send(JSON.stringify({ id, method, params, ...more }));
    return within(PATIENCE_MS, method, new Promise((resolve) => this.#answers.set(id, resolve)));
  }
}

describe.skipIf(BROWSER === undefined)("the sign-up page in a browser", { timeout: 90_000 }, () => {
  let server: Server;
  let page: Page;

  beforeAll(async () => {
    server = await startServer({ signup: true });
    page = new Page();
    await page.open();
  }, PATIENCE_MS);

  afterAll(async () => {
    await page?.close();
    await server?.close();
  });

  test("[A4ta] is used by keys alone, and the key that it shows locks", async () => {
    await page.goTo(`${server.url}/signup`);
    expect(await page.value("getComputedStyle(document.querySelector('main')).maxWidth")).not.toBe("none");
    await page.press("Tab");
    await page.press("Tab");
    expect(await page.value("document.activeElement.id")).toBe("email");
    expect(await page.value("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
    await page.type("nobody");
    await page.pressAndLoad("Enter");
    expect(await page.value("document.title")).toMatch(/^Error: /);
    expect(await page.value("document.activeElement.value")).toBe("nobody");
    await page.value("document.activeElement.select()");
    await page.type("dev@example.com");
    await page.pressAndLoad("Enter");
    expect(await page.value("document.title")).toBe("Your trial has begun · LockDB");
    await page.press("Tab");
    await page.press("Tab");
    const selected =
      "document.activeElement.value.slice(document.activeElement.selectionStart, document.activeElement.selectionEnd)";
    const apiKey = await page.value<string>(selected);
    expect(apiKey).toMatch(/^ldb_\w{49}$/);
    expect(await page.value("document.querySelector('pre').textContent")).toContain(
      `export LOCKDB_SERVER_URL=${server.url}\nexport LOCKDB_API_KEY=${apiKey}\n`,
    );
    const locker = new LockDB("demo", { apiKey, serverUrl: server.url });
    expect(await locker.lock("teapot")).toBe(true);
    await locker.close();
    expect(await page.value("location.href")).toBe(`${server.url}/signup`);
    await page.goTo(`${server.url}/signup`);
    expect(await page.value("document.documentElement.outerHTML")).not.toContain(apiKey);
  });

  test("[A4tb] is as narrow as a phone, light or dark, and never wider than the window", async () => {
    const fits = async () => {
      for (const width of [320, 1_000]) {
        await page.resize(width);
        expect(await page.value("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
      }
    };
    await page.goTo(`${server.url}/signup`);
    await fits();
    await page.value("document.getElementById('email').focus()");
    await page.type("dev@example.com");
    await page.pressAndLoad("Enter");
    expect(await page.value("document.title")).toContain("has begun");
    await fits();
    const paper = "getComputedStyle(document.body).backgroundColor";
    await page.prefer("light");
    const light = await page.value(paper);
    await page.prefer("dark");
    expect(await page.value(paper)).not.toBe(light);
  });

  test("[A4td] works without TLS beyond loopback, where browsers say less of where a form is from", async () => {
    const address = `http://locks.test:${new URL(server.url).port}`;
    await page.goTo(`${address}/signup`);
    expect(await page.value("isSecureContext")).toBe(false);
    await page.value("document.getElementById('email').focus()");
    await page.type("dev@example.com");
    await page.pressAndLoad("Enter");
    expect(await page.value("document.title")).toContain("has begun");
    expect(await page.value("document.querySelector('pre').textContent")).toContain(
      `export LOCKDB_SERVER_URL=${address}\n`,
    );
  });

  test("[A4tc] a page elsewhere that sends the form for its visitor begins no trial", async () => {
    const form = `<form method="post" action="${server.url}/signup"><input name="email" value="a@b" autofocus></form>`;
    await page.goTo(`data:text/html,<!doctype html>${encodeURIComponent(form)}`);
    await page.pressAndLoad("Enter");
    expect(await page.value("location.href")).toBe(`${server.url}/signup`);
    expect(await page.value("document.body.textContent")).toContain("This came from a page of another site.");
  });
});

if (BROWSER === undefined) console.warn("No Chromium: the sign-up page was not tried in a browser.");
