/** The web page in a browser, on a server with real clients. Without Chromium it says that it is skipped. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, launch, Visit } from "./browser.js";
import { HOSTILE, pause, Scene, SERVICE } from "./scene.js";

const PATIENCE_MS = 40_000;
const at = (screen: string) => `#/s/${SERVICE}/${screen}`;
const lockAt = (name: string) => at(`locks/${encodeURIComponent(name)}`);

const ALIVE = { isReady: true, isLeaving: false, isSelf: false, lastSeenMs: 200 };
const ETCD = {
  endpoint: "etcd1:2379",
  healthy: false,
  isLeader: false,
  version: "3.4.23",
  dbSizeBytes: 1,
  error: null,
};

describe.skipIf(CHROMIUM === undefined)("the web page", { timeout: PATIENCE_MS }, () => {
  let browser: Browser;
  let scene: Scene;
  /** Signed in with the root key. */
  let visit: Visit;

  beforeAll(async () => {
    // @ts-expect-error: it is JavaScript. It builds only what is not fresh.
    await import("../build.js");
    scene = await Scene.start();
    browser = await launch();
    visit = await Visit.open(browser, scene);
  }, PATIENCE_MS);

  afterAll(async () => {
    await browser?.close();
    await scene?.close();
  });

  test("[I5e] takes a key, keeps it in this tab alone, and goes where the link leads", async () => {
    const { page } = visit;
    await visit.goTo("#/account");
    await page.fill("#api-key", "ldb_nobody_x");
    await page.keyboard.press("Enter");
    await page.getByText("Send a valid key").or(page.locator(".note.bad")).first().waitFor();
    expect(await page.locator(".frame").count()).toBe(0);
    await page.fill("#api-key", scene.server.rootKey);
    await page.keyboard.press("Enter");
    await visit.title("Account");
    expect(page.url()).not.toContain(scene.server.rootKey);
    expect(await page.evaluate("JSON.stringify({ ...localStorage })")).not.toContain(scene.server.rootKey);
    await page.reload();
    await visit.title("Account");
    const other = await page.context().newPage();
    await other.goto(scene.server.url);
    await other.waitForSelector("#api-key");
    await other.close();
  });

  test("[I5f] with nothing locked it says what to run, and sees the first lock by itself", async () => {
    await visit.goTo("#/");
    await visit.title("Nothing is locked yet");
    expect(await visit.text("pre")).toContain(`LOCKDB_SERVER_URL=${scene.server.url}`);
    const lease = await scene.client("ann").acquire("teapot");
    await visit.title("Now");
    expect(await visit.text(".tile-value")).toContain("1");
    await lease.release();
  });

  test("[I5g] a trial begins with a key that is shown once, and a snippet that takes the first lock", async () => {
    const guest = await Visit.open(browser, scene, { permissions: ["clipboard-read", "clipboard-write"] });
    const { page } = guest;
    await guest.goTo();
    await page.getByText("Start a free trial").click();
    await page.fill("#email", "nobody");
    await page.keyboard.press("Enter");
    await page.getByText("Enter an email address").waitFor();
    await page.fill("#email", "dev@example.com");
    await page.keyboard.press("Enter");
    await page.getByText("Your trial has begun").waitFor();
    const apiKey = await page.inputValue(".secret input");
    expect(apiKey).toMatch(/^ldb_\w{49}$/);
    await page.getByText("Copy the key").click();
    await page.getByText("Copied", { exact: true }).waitFor();
    expect(await page.evaluate("navigator.clipboard.readText()")).toBe(apiKey);
    expect(await guest.findings()).toEqual([]);
    const curl = await page.locator("pre").nth(1).innerText();
    const { stdout } = await promisify(execFile)("bash", ["-c", curl]);
    expect(JSON.parse(stdout)).toMatchObject({ token: 1 });
    await page.getByText("I have copied it").click();
    await guest.title("Now");
    await page.getByRole("row", { name: /teapot/ }).waitFor();
    await page.getByRole("link", { name: "Account" }).click();
    await page.getByText("30 days left").waitFor();
    expect(await page.content()).not.toContain(apiKey);
    expect(guest.errors).toEqual([]);
    await guest.close();
  });

  test("[I5h] under contention each screen says what the API says", async () => {
    const { page } = visit;
    scene.bustle(["invoice/42", "stock/teapot"], 4, 300);
    await scene.queue("cron@db3:881", "nightly-report", { metadata: { job: "report" } });
    for (const owner of ["first@a:1", "second@a:2", "third@a:3"]) await scene.queue(owner, "nightly-report");
    await visit.goTo(at("now"));
    const row = page.getByRole("row", { name: /nightly-report/ }).first();
    await row.waitFor();
    expect(await row.innerText()).toMatch(/nightly-report\s+3\s/);
    await page.getByRole("link", { name: "Locks", exact: true }).first().click();
    await page.getByRole("row", { name: /nightly-report.*contended.*cron@db3:881.*3/s }).waitFor();
    await page.getByRole("link", { name: "nightly-report" }).click();
    await visit.title("nightly-report");
    await page.locator(".queue li").nth(2).waitFor();
    const queue = await page.locator(".queue-who bdi").allInnerTexts();
    expect(queue).toEqual(["first@a:1", "second@a:2", "third@a:3"]);
    expect(await visit.text("article.holder")).toMatch(/cron@db3:881[\s\S]*job\s+report/);
    expect(await page.locator(".lane-names bdi").allInnerTexts()).toEqual(["cron@db3:881", ...queue]);
    expect(await page.locator(".lane-lines .hold.open").count()).toBe(1);
    expect(await page.locator(".lane-lines .wait").count()).toBe(3);
    expect(await page.locator(".box").count()).toBe(5);
    await visit.goTo(at("sessions"));
    await page.getByRole("row", { name: /cron@db3:881.*nightly-report/s }).waitFor();
    await visit.goTo(at("events"));
    await page.getByText("live").waitFor();
    await scene.http("POST", `/v1/services/${SERVICE}/acquire`, { names: "just-now", owner: "late@z:1" });
    await page.locator(".event", { hasText: "late@z:1" }).first().waitFor();
    expect(visit.errors).toEqual([]);
  });

  test("[I5i] a list is kept up by events: what is taken and given back comes and goes by itself", async () => {
    const { page } = visit;
    await visit.goTo(at("locks?prefix=live"));
    await page.getByText("No such lock").waitFor();
    const client = scene.client("live@x:1");
    const lease = await client.acquire("live/1");
    await page.getByRole("row", { name: /live\/1.*live@x:1/s }).waitFor();
    await lease.release();
    await page.getByText("No such lock").waitFor();
  });

  test("[I5j] names of somebody who means no good are text, on every screen, and can be looked at", async () => {
    const { page } = visit;
    for (const name of Object.values(HOSTILE)) await scene.queue(name.slice(0, 60) || "x", name);
    for (const screen of ["now", "locks", "sessions", "events"]) {
      await visit.goTo(at(screen));
      await page.getByText("<img src=x onerror").first().waitFor();
    }
    for (const name of Object.values(HOSTILE)) {
      await visit.goTo(lockAt(name));
      await page.locator("article.holder").waitFor();
      const shown = await visit.text("#screen-title");
      expect(shown).toBe(name === " " ? "U+0020" : name);
      expect(await visit.text("article.holder .number-text")).toMatch(/^\d+$/);
    }
    expect(await page.evaluate("document.body.dataset.hacked")).toBeUndefined();
    expect(await page.locator("img").count()).toBe(0);
    expect(visit.errors).toEqual([]);
  });

  test("[I5k] force says whom it hurts, wants a reason, and asks first where one likes", async () => {
    const { page } = visit;
    const lease = await scene.client("hangs@db3:1").acquire("stuck");
    const heard: string[] = [];
    lease.onAsked((reason) => heard.push(reason));
    await scene.queue("next@db4:1", "stuck");
    await visit.goTo(lockAt("stuck"));
    await page.getByText("Take it from this holder").click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.innerText()).toMatch(/hangs@db3:1[\s\S]*next@db4:1 comes next/);
    expect(await visit.findings()).toEqual([]);
    await dialog.getByText("Free it by force").click();
    await dialog.getByText("Say why").waitFor();
    expect((await scene.http("GET", `/v1/services/${SERVICE}/locks/stuck`)).holders[0].owner).toBe(
      "hangs@db3:1",
    );
    await page.fill("#force-reason", "host db3 hangs");
    await dialog.getByText("Ask first").click();
    await dialog.getByText("was told").waitFor();
    expect(heard).toEqual(["host db3 hangs"]);
    await dialog.getByText("Free it by force").click();
    await dialog.waitFor({ state: "detached" });
    await page.locator("article.holder", { hasText: "next@db4:1" }).waitFor();
    expect(lease.signal.aborted).toBe(true);
    await page.locator(".lane-lines .hold.forced").waitFor({ state: "attached" });
    const { entries } = await scene.http("GET", "/v1/audit");
    expect(entries.at(-1)).toMatchObject({
      what: "force release",
      details: { name: "stuck", reason: "host db3 hangs" },
    });
  });

  test("[I5l] a deadlock is refused, and drawn as the circle that it was", async () => {
    const { page } = visit;
    const refused = await scene.deadlock("account/7", "account/9", ["ann", "bob"]);
    expect(refused.map((error) => (error as Error & { code: string }).code)).toEqual(["DEADLOCK"]);
    await visit.goTo(lockAt("account/7"));
    await page.getByText("A deadlock was refused").waitFor();
    expect(await page.locator(".edge.deadlock").count()).toBe(2);
    expect(
      (await page.locator(".want text").allTextContents())
        .map((text) => text.replace(/[\u2066-\u2069]/g, ""))
        .sort(),
    ).toEqual(["wants account/7", "wants account/9"]);
    await page.locator(".lane-lines .deadlock").waitFor({ state: "attached" });
  });

  test("[I5m] a hold that runs out is marked on the time line, and told in what needs attention", async () => {
    const { page } = visit;
    await visit.goTo(at("now"));
    await page.locator(".tiles").waitFor();
    await scene.http("POST", `/v1/services/${SERVICE}/acquire`, {
      names: "brief",
      leaseMs: 1_000,
      owner: "dead@y:1",
    });
    await page.getByText(/hold ran out in the last/).waitFor();
    await visit.goTo(lockAt("brief"));
    await page.locator(".lane-lines .hold.expired").waitFor({ state: "attached" });
    await page.getByText("was not given back").waitFor();
  });

  test("[I5n] a key that may only look sees everything and no dangerous control", async () => {
    const guest = await Visit.open(browser, scene);
    await guest.signIn(await scene.key(["read"]), lockAt("nightly-report"));
    await guest.page.locator("article.holder").waitFor();
    expect(await guest.page.getByText(/Take it from|Make a key/).count()).toBe(0);
    expect(await guest.page.getByRole("navigation").innerText()).not.toContain("Keys");
    await guest.goTo("#/keys");
    await guest.page.getByText("Your key may not see this").waitFor();
    await guest.close();
    const worker = await Visit.open(browser, scene);
    await worker.signIn(await scene.key(["lock"]), at("now"));
    await worker.page.getByText("Your key may not see this").waitFor();
    await worker.close();
  });

  test("[I5o] keys are made, narrowed, rotated and revoked; each secret is shown once", async () => {
    const { page } = visit;
    const works = async (apiKey: string) =>
      (await scene.http("GET", "/v1/self", undefined, apiKey)).key?.scopes;
    await visit.goTo("#/keys");
    await page.getByText("Make a key").click();
    await page.fill("#key-name", "a dashboard");
    await page.getByRole("button", { name: "Make it" }).click();
    const first = await page.inputValue(".secret input");
    expect(await works(first)).toEqual(["lock", "read"]);
    await page.getByText("I have copied it").click();
    const card = page.locator(".key-card", { hasText: "a dashboard" });
    await card.getByText("Narrow…").click();
    await page.getByRole("checkbox", { name: /lock/ }).uncheck();
    await page.getByRole("button", { name: "Narrow it" }).click();
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await works(first)).toEqual(["read"]);
    await card.getByText("Rotate…").click();
    await page.selectOption("#rotate-kept", "0");
    await page.getByRole("button", { name: "Rotate it" }).click();
    const second = await page.inputValue(".secret input");
    expect(await works(first)).toBeUndefined();
    expect(await works(second)).toEqual(["read"]);
    await page.getByText("I have copied it").click();
    expect(await page.content()).not.toContain(second);
    await card.getByText("Revoke…").click();
    await page.getByRole("button", { name: "Revoke it" }).click();
    await card.waitFor({ state: "detached" });
    expect(await works(second)).toBeUndefined();
  });

  test("[I5p] screen readers: axe finds nothing serious on any screen, light or dark, and none is wider than a phone", async () => {
    const { page } = visit;
    const wrong: string[] = [];
    const screens = [
      ...["now", "locks", "sessions", "events"].map(at),
      ...[lockAt("nightly-report"), lockAt("account/7"), "#/keys", "#/account", "#/cluster"],
    ];
    for (const hash of screens) {
      await page.setViewportSize({ width: 1_200, height: 800 });
      await visit.goTo(hash);
      await page.locator("#screen-title").waitFor();
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        // What has no colour is the same in the dark.
        for (const finding of await visit.findings(colorScheme === "dark"))
          wrong.push(`${hash} ${colorScheme}: ${finding}`);
      }
      await page.setViewportSize({ width: 340, height: 700 });
      // What is drawn is drawn anew when it has been told its size.
      await visit.until("document.documentElement.scrollWidth <= 340").catch(async () => {
        wrong.push(`${hash} is ${await page.evaluate("document.documentElement.scrollWidth")} wide`);
      });
    }
    await page.setViewportSize({ width: 1_200, height: 800 });
    await page.emulateMedia({ colorScheme: "light" });
    expect(wrong).toEqual([]);
  }, 120_000);

  test("[I5q] works by keys alone, shows times beside now or in UTC, and keeps the choice", async () => {
    const { page } = visit;
    await visit.goTo(at("locks"));
    await page.locator(".lock-space .lock-row").first().waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("nightly");
    await visit.until("location.hash.endsWith('prefix=nightly')");
    await visit.until(`document.querySelectorAll(".lock-space .lock-row").length === 1`);
    await page.keyboard.press("Tab");
    for (
      let tabs = 0;
      tabs < 10 && !(await page.evaluate<boolean>(`document.activeElement.matches(".lock-link")`));
      tabs++
    )
      await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await visit.title("nightly-report");
    // The title is there before the focus is.
    await visit.until("document.activeElement.id === 'screen-title'");
    await page.getByText("Take it from this holder").focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await page.evaluate("document.activeElement.textContent")).toContain("Take it from this holder");
    await page.getByRole("button", { name: "UTC" }).click();
    expect(await visit.text("article.holder time")).toMatch(/\d\d:\d\d:\d\d/);
    await page.reload();
    await page.locator("article.holder").waitFor();
    expect(await visit.text("article.holder time")).toMatch(/\d\d:\d\d:\d\d/);
    await page.getByRole("button", { name: "Relative" }).click();
  });

  test("[I5r] nothing asks for the same more often than once in two seconds", async () => {
    await visit.goTo(at("now"));
    visit.asked.length = 0;
    await pause(4_500);
    const last = new Map<string, number>();
    for (const { address, atMs } of visit.asked.filter((each) => each.address.startsWith("/v1/"))) {
      // A stream is one request for as long as it lasts.
      const gap = atMs - (last.get(address) ?? Number.NEGATIVE_INFINITY);
      expect(gap, address).toBeGreaterThan(1_900);
      last.set(address, atMs);
    }
    expect(last.has(`/v1/services/${SERVICE}/stats`)).toBe(true);
  });

  test("[I5s] of many locks few rows are drawn, and the rest is loaded as one scrolls", async () => {
    const { page } = visit;
    const client = scene.client("many@m:1", "many");
    await Promise.all(
      Array.from({ length: 3_000 }, (_, n) => client.acquire(`item/${String(n).padStart(5, "0")}`)),
    );
    await visit.goTo("#/s/many/locks");
    const rows = page.locator(".lock-space .lock-row");
    await rows.first().waitFor();
    expect(await rows.count()).toBeLessThan(60);
    await scene.until(async () => {
      await page.evaluate(
        `(() => { const box = document.querySelector(".lock-table"); box.scrollTop = box.scrollHeight; })()`,
      );
      return (await page.getByText("item/02999").count()) > 0;
    }, 20_000);
    expect(await rows.count()).toBeLessThan(60);
    expect(await page.getByText("item/00000").count()).toBe(0);
    await page.fill("input[type=search]", "item/0100");
    await visit.until(`document.querySelectorAll(".lock-space .lock-row").length === 10`);
  });

  test("[I5t] a cluster is shown, with who owns what; a single server says that it is one", async () => {
    const { page } = visit;
    await visit.goTo("#/cluster");
    await page.getByText("a single server").waitFor();
    await page.getByText("Event loop late").waitFor();
    await page.route("**/v1/cluster", (route) =>
      route.fulfill({
        json: {
          cluster: "lockdb",
          members: [
            { id: "a", url: "http://10.0.0.1:5625", ...ALIVE, partitions: 128, isSelf: true },
            { id: "b", url: "http://10.0.0.2:5625", ...ALIVE, partitions: 127, isLeaving: true },
          ],
          partitions: [{ id: 0, owner: "b", epoch: 3, state: "handing-over" }],
          etcd: [
            { ...ETCD, healthy: true },
            { ...ETCD, endpoint: "etcd2:2379", error: "no answer" },
          ],
        },
      }),
    );
    await page.reload();
    await page.getByRole("row", { name: /10\.0\.0\.2.*leaving.*127/s }).waitFor();
    await page.getByRole("row", { name: /etcd2:2379.*no answer/s }).waitFor();
    await page.getByText("1 partitions on their way").waitFor();
    await page.unroute("**/v1/cluster");
  });

  test("[I5u] a lost server is said, and what is shown goes on when it is back", async () => {
    const { rootKey } = scene.server;
    let own = await Scene.start({ rootKey });
    const port = Number(new URL(own.server.url).port);
    await own.client("ann").acquire("disk");
    const guest = await Visit.open(browser, own);
    await guest.signIn(rootKey, at("now"));
    await guest.page.getByRole("row", { name: /disk/ }).first().waitFor();
    await own.close();
    await guest.page.getByText("The server cannot be reached").waitFor();
    expect(await guest.findings()).toEqual([]);
    own = await Scene.start({ rootKey, port });
    await own.client("bob").acquire("tape");
    await guest.page.getByRole("row", { name: /tape/ }).first().waitFor({ timeout: 20_000 });
    expect(await guest.page.getByText("The server cannot be reached").count()).toBe(0);
    await guest.close();
    await own.close();
  });

  test("[I5v] a key that is revoked ends what it sees, and says so", async () => {
    const apiKey = await scene.key(["read"], "to be revoked");
    const guest = await Visit.open(browser, scene);
    await guest.signIn(apiKey, at("events"));
    await guest.page.getByText("live").waitFor();
    const { keys } = await scene.http("GET", "/v1/keys");
    const { id } = keys.find(({ name }: { name: string }) => name === "to be revoked");
    await scene.http("DELETE", `/v1/keys/${id}`);
    await guest.page.getByText("This key was revoked, or has ended.").waitFor();
    expect(await guest.page.evaluate("sessionStorage.length")).toBe(0);
    await guest.close();
  });
});

if (CHROMIUM === undefined) console.warn("No Chromium: the web page was not tried in a browser.");
