import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const BROWSER = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);

/** What a page is made of. */
export interface Site {
  /** The page, from the origin that it is served from. */
  page(origin: string): Promise<string>;
  /** A script by its path, or null. */
  script(path: string): string | null;
}

/** In the page: `await say(text)`. The last thing to say is "end". */
export const SAY = `const say = (text) => fetch("/say", { method: "POST", body: String(text) });`;

/** Opens a page in Chromium, and puts what it says into `log` until it says "end". */
export async function visit(site: Site, log: string[]): Promise<void> {
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  let page = "";
  const web = createServer(async (request, response) => {
    const url = request.url!;
    if (url === "/say") {
      let said = "";
      for await (const chunk of request) said += chunk;
      log.push(said);
      if (said === "end") end();
      response.end();
    } else if (url === "/") {
      response.setHeader("content-type", "text/html").end(page);
    } else {
      const script = site.script(url);
      if (script === null) response.writeHead(404).end();
      else response.setHeader("content-type", "text/javascript").end(script);
    }
  }).listen(0, "127.0.0.1");
  await once(web, "listening");
  const origin = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
  page = await site.page(origin);
  const profile = mkdtempSync(join(tmpdir(), "lockdb-page-"));
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    `--user-data-dir=${profile}`,
  ];
  const args = [...flags, "--remote-debugging-port=0", `${origin}/`];
  const browser = spawn(BROWSER!, args, { detached: true, stdio: "ignore" });
  await Promise.race([ended, once(browser, "exit")]);
  if (browser.exitCode === null && browser.kill()) await once(browser, "exit");
  try {
    // Its helpers, which may write to the profile for seconds after it has ended.
    process.kill(-browser.pid!, "SIGKILL");
  } catch {
    // They have ended, too.
  }
  web.closeAllConnections();
  web.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
}
