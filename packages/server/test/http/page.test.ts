/** The files of the web page. What it does is tried in a browser: packages/dashboard/test. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { ask, startServer } from "./server.js";

let server: Server;
let html: string;

beforeAll(async () => {
  server = await startServer();
  html = await (await fetch(server.url)).text();
});

afterAll(() => server.close());

test("[I5a] it is at /, needs no key, loads nothing from elsewhere, and has no script or style in its text", async () => {
  const response = await fetch(server.url);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
  const policy = response.headers.get("content-security-policy")!;
  expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
  expect(policy).not.toMatch(/unsafe|\*|data:|http/);
  expect(html).not.toMatch(/<script(?![^>]* src="\.\/)|<style| style=| on\w+=|https?:/);
});

test("[I5b] its files have hashes in their names, may be kept for ever, and weigh at most 120 KiB when they come packed", async () => {
  const names = [...html.matchAll(/(?:src|href)="\.\/(assets\/[^"]+)"/g)].map((match) => match[1]!);
  expect(names.length).toBeGreaterThanOrEqual(3);
  let bytes = 0;
  for (const name of names) {
    expect(name).toMatch(/-[\w-]{8}\.(js|css|svg)$/);
    const packed = await ask(server, {
      method: "GET",
      path: `/${name}`,
      headers: { "accept-encoding": "gzip" },
    });
    expect(packed!.headers["cache-control"]).toBe("public, max-age=31536000, immutable");
    bytes += Number(packed!.headers["content-length"]);
    const plain = await fetch(`${server.url}/${name}`, { headers: { "accept-encoding": "identity" } });
    expect(plain.headers.get("content-encoding")).toBeNull();
    expect((await plain.text()).length).toBeGreaterThan(100);
  }
  // The part that draws lines is loaded when there is something to draw.
  const later = [
    ...(await (await fetch(`${server.url}/${names.find((name) => name.endsWith(".js"))}`)).text()).matchAll(
      /\.\/([\w.-]+\.js)/g,
    ),
  ];
  for (const [, name] of later) {
    const response = await fetch(`${server.url}/assets/${name}`);
    expect(response.status).toBe(200);
    bytes += Number(response.headers.get("content-length"));
  }
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(120 * 1_024);
});

test("[I5c] nothing beside them is given out", async () => {
  for (const name of [
    "",
    "nobody.js",
    "..",
    "%2e%2e%2findex.html",
    "..%2f..%2fpackage.json",
    "a%2f..%2f..%2f..%2fhttp%2fapp.js",
    ".stamp",
    "index.html",
    "a/b.js",
  ]) {
    const answer = await ask(server, { method: "GET", path: `/assets/${name}` });
    expect([404, 400], name).toContain(answer!.status);
  }
});

test("[I5d] whoever takes no packed answers gets none", async () => {
  const asked = { method: "GET", path: "/" } as const;
  const packed = await fetch(server.url, { headers: { "accept-encoding": "gzip" } });
  expect(packed.headers.get("vary")).toContain("accept-encoding");
  expect(packed.headers.get("content-encoding")).toBe("gzip");
  expect(await packed.text()).toBe(html);
  for (const accepts of ["identity", "gzip;q=0", "br"]) {
    const answer = await ask(server, { ...asked, headers: { "accept-encoding": accepts } });
    expect(answer!.headers["content-encoding"], accepts).toBeUndefined();
    expect(answer!.body).toBe(html);
  }
});
