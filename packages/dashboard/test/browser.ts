/** Chromium, as a user has it, on the page of a scene. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, chromium, type Page } from "playwright-core";
import type { Scene } from "./scene.js";

export const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
}

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** A window on the page, and what went wrong in it. */
export class Visit {
  readonly page: Page;
  readonly scene: Scene;
  /** Errors of scripts, and what the policy of the page has stopped. */
  readonly errors: string[] = [];
  /** When each address was asked for. */
  readonly asked: { readonly address: string; readonly atMs: number }[] = [];

  private constructor(page: Page, scene: Scene) {
    this.page = page;
    this.scene = scene;
    page.on("pageerror", (error) => this.errors.push(error.message));
    page.on("console", (message) => {
      const text = message.text();
      // A refusal is no error of the page.
      if (message.type() === "error" && !text.startsWith("Failed to load resource")) this.errors.push(text);
    });
    page.on("request", (request) =>
      this.asked.push({ address: request.url().slice(scene.server.url.length), atMs: performance.now() }),
    );
  }

  static async open(browser: Browser, scene: Scene, options: Parameters<Browser["newContext"]>[0] = {}) {
    const context = await browser.newContext({
      viewport: { width: 1_200, height: 800 },
      // Else colours are looked at while they change.
      reducedMotion: "reduce",
      ...options,
    });
    context.setDefaultTimeout(10_000);
    return new Visit(await context.newPage(), scene);
  }

  /** @param hash where to, with its `#` */
  async goTo(hash = ""): Promise<void> {
    await this.page.goto(`${this.scene.server.url}/${hash}`);
  }

  async signIn(apiKey = this.scene.server.rootKey, hash = ""): Promise<void> {
    await this.goTo(hash);
    await this.page.fill("#api-key", apiKey);
    await this.page.keyboard.press("Enter");
    await this.page.waitForSelector(".frame");
  }

  /** Waits for an expression. Playwright's own way would need `eval`, which the page's policy forbids. */
  async until(expression: string): Promise<void> {
    await this.scene.until(() => this.page.evaluate<boolean>(expression));
  }

  /** Waits for the screen of that title. */
  async title(text: string): Promise<void> {
    await this.until(`document.getElementById("screen-title")?.textContent === ${JSON.stringify(text)}`);
  }

  text(selector: string): Promise<string> {
    return this.page.locator(selector).first().innerText();
  }

  /** Serious and critical findings of axe, and where; of many rows that are alike it looks at some. @param isColour only about contrast */
  async findings(isColour = false): Promise<readonly string[]> {
    if (!(await this.page.evaluate<boolean>("'axe' in window"))) await this.page.evaluate(AXE);
    const options = { resultTypes: ["violations"], ...(isColour ? { runOnly: ["color-contrast"] } : {}) };
    const found = await this.page.evaluate<{ id: string; impact: string; where: string[] }[]>(
      `axe.run({ include: document, exclude: [".event:nth-child(n+5)", ".lock-space .lock-row:nth-child(n+5)", ".data tr:nth-child(n+5)"] }, ${JSON.stringify(options)}).then(({ violations }) =>
        violations.map(({ id, impact, nodes }) => ({ id, impact, where: nodes.map(({ target }) => target.join(" ")) })))`,
    );
    return found
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, where }) => `${id}: ${where.slice(0, 3).join(", ")}`);
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }
}
