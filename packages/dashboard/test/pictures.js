/** Makes the pictures of the docs: each screen, light and dark, as wide as a desk and as a phone. `npm run pictures [FOLDER]` */
import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { pause, Scene, SERVICE, shop } from "./scene.js";

const FOLDER = process.argv[2] ?? fileURLToPath(new URL("../../../docs/pictures", import.meta.url));
const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);
/** Holds are long, and lines have something to show, after a while. */
const AGE_MS = 65_000;
const BYTES_MAX = 150 * 1_024;
const WIDE = { width: 1_200, height: 800 };
const PHONE = { width: 390, height: 800 };

const at = (screen) => `#/s/${SERVICE}/${screen}`;
const lock = (name) => at(`locks/${encodeURIComponent(name)}`);
const minute = (page) => page.getByText("1 minute").click();

/** What is pictured, and what is done there before. */
const SCREENS = {
  now: { hash: at("now") },
  locks: { hash: at("locks") },
  lock: { hash: lock("nightly-report"), act: minute },
  "time-line": { hash: lock("stock/teapot"), act: minute },
  deadlock: {
    hash: lock("account/7"),
    act: (page) => page.getByText("A deadlock was refused").scrollIntoViewIfNeeded(),
  },
  "who-waits": {
    hash: lock("payout/17"),
    act: (page) => page.getByText("Who waits for whom").scrollIntoViewIfNeeded(),
  },
  force: {
    hash: lock("nightly-report"),
    act: async (page) => {
      await page.getByText("Take it from this holder").click();
      await page.fill("#force-reason", "host db3 hangs");
      await page.getByText("Ask first").or(page.getByText("Ask again")).click();
      await page.getByRole("dialog").getByText("was told").waitFor();
    },
  },
  sessions: { hash: at("sessions") },
  events: { hash: at("events"), height: 560 },
  keys: { hash: "#/keys" },
  account: { hash: "#/account" },
  server: { hash: "#/cluster" },
  "sign-in": { hash: "#/", isSignedOut: true },
  "sign-up": { hash: "#/signup", isSignedOut: true },
};

if (CHROMIUM === undefined) throw new Error("Pictures need Chromium: apt-get install chromium");
mkdirSync(FOLDER, { recursive: true });
const scene = await Scene.start();
await scene.key(["lock", "read"], "billing in production", [SERVICE]);
await scene.key(["read"], "on call");
await shop(scene);
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const pages = [];
for (const colorScheme of ["light", "dark"]) {
  for (const [size, viewport] of [
    ["", WIDE],
    ["-phone", PHONE],
  ]) {
    const context = await browser.newContext({ viewport, colorScheme, reducedMotion: "reduce" });
    const page = await context.newPage();
    await page.goto(`${scene.server.url}/${at("now")}`);
    await page.fill("#api-key", scene.server.rootKey);
    await page.keyboard.press("Enter");
    await page.waitForSelector(".tiles");
    const door = await context.newPage();
    pages.push({ page, door, suffix: `${size}-${colorScheme}` });
  }
}
console.log(`${AGE_MS / 1_000} s until there is something to see …`);
await pause(AGE_MS);
await scene.deadlock();
let bytes = 0;
for (const { page, door, suffix } of pages) {
  for (const [name, { hash, act, height, isSignedOut }] of Object.entries(SCREENS)) {
    const on = isSignedOut ? door : page;
    await on.goto(`${scene.server.url}/${hash}`);
    await on.bringToFront();
    await on.locator("h1").first().waitFor();
    await pause(name === "now" ? 4_500 : 700);
    await act?.(on);
    await pause(300);
    const file = join(FOLDER, `${name}${suffix}.png`);
    const clip = height === undefined ? {} : { clip: { x: 0, y: 0, width: on.viewportSize().width, height } };
    await on.screenshot({ path: file, ...clip });
    const { size } = statSync(file);
    bytes += size;
    if (size > BYTES_MAX) console.warn(`${file}: ${Math.round(size / 1_024)} KiB`);
    if (name === "force") await on.keyboard.press("Escape");
  }
}
console.log(
  `${pages.length * Object.keys(SCREENS).length} pictures, ${Math.round(bytes / 1_024)} KiB, in ${FOLDER}`,
);
await browser.close();
await scene.close();
process.exit(0);
