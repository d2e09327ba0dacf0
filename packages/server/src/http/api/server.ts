import { ACCOUNT_DEFAULT } from "../../access/index.js";
import { METRICS_TYPE } from "../../metrics/index.js";
import { Refusal } from "../errors.js";
import type { Operation } from "../operation.js";
import { answerOf, FOR_EVER, PAGE_POLICY, page, pageFile } from "../page-files.js";
import { Type } from "../type.js";

const READY = { description: "So it is.", type: "text/plain" };

const NOT_THE_OPERATORS =
  "Metrics are of the whole server. Use a key of the account default, with the scope read.";

/** What tells of the server itself. All but its metrics needs no key. */
export function serverOperations(parts: {
  readonly document: () => string;
  readonly page: () => { readonly html: string; readonly policy: string };
  readonly metrics: () => Promise<string>;
  readonly problem: () => string | null;
}): readonly Operation[] {
  return [
    {
      id: "page",
      method: "GET",
      path: "/",
      tag: "The server",
      summary: "The web page",
      description:
        "What an operator opens: who holds what, and who waits. It takes a key, and calls this API.",
      need: null,
      answers: { 200: { description: "The page.", type: "text/html" } },
      errors: [],
      handle: async ({ request }) => {
        const answer = answerOf(await page(), request.headers["accept-encoding"]);
        // Kept, but asked for anew: after an update it names other files.
        const headers = { "content-security-policy": PAGE_POLICY, "cache-control": "no-cache" };
        return { ...answer, headers: { ...answer.headers, ...headers } };
      },
    },
    {
      id: "pageFile",
      method: "GET",
      path: "/assets/{file}",
      tag: "The server",
      summary: "A file of the web page",
      description: "Its name has a hash of what is in it: it may be kept for ever.",
      need: null,
      answers: {
        200: { description: "The file.", type: "text/javascript" },
      },
      errors: ["NOT_FOUND"],
      handle: async ({ params, request }) => {
        const file = await pageFile(params.file!);
        if (file === null) throw new Refusal("NOT_FOUND");
        const answer = answerOf(file, request.headers["accept-encoding"]);
        return { ...answer, headers: { ...answer.headers, "cache-control": FOR_EVER } };
      },
    },
    {
      id: "livez",
      method: "GET",
      path: "/livez",
      tag: "The server",
      summary: "Whether the process works",
      description: "For whoever restarts it.",
      need: null,
      answers: { 200: READY },
      errors: [],
      handle: () => ({ status: 200, type: "text/plain", body: "ok\n" }),
    },
    {
      id: "readyz",
      method: "GET",
      path: "/readyz",
      tag: "The server",
      summary: "Whether requests are taken",
      description:
        "Also while it recovers: hiding the server would keep its clients from coming back. 503 while its store does not work, or it stops; and while it is out of its cluster, with what is wrong there.",
      need: null,
      answers: {
        200: READY,
        503: { description: "Not now.", type: "text/plain", headers: { "retry-after": "Seconds." } },
      },
      errors: [],
      handle: ({ loop }) => {
        const problem = parts.problem();
        if (loop.ready && problem === null) return { status: 200, type: "text/plain", body: "ok\n" };
        const why = problem === null ? "" : `: this member is out of its cluster: ${problem}`;
        const headers = { "retry-after": "1" };
        return { status: 503, type: "text/plain", body: `not ready${why}\n`, headers };
      },
    },
    {
      id: "metrics",
      method: "GET",
      path: "/metrics",
      tag: "The server",
      summary: "Metrics, for Prometheus",
      description:
        "Numbers about the whole server, so it takes a key of the account `default` that is not for some services only. docs/metrics.md lists them.",
      need: { scopes: ["read"], isOverall: true },
      answers: { 200: { description: "Text format 0.0.4.", type: "text/plain" } },
      errors: [],
      handle: async ({ caller }) => {
        if (caller.account !== ACCOUNT_DEFAULT) throw new Refusal("FORBIDDEN", NOT_THE_OPERATORS);
        return { status: 200, type: METRICS_TYPE, body: await parts.metrics() };
      },
    },
    {
      id: "openapi",
      method: "GET",
      path: "/openapi.json",
      tag: "The server",
      summary: "This document",
      description: "OpenAPI 3.1, made from the schemas that validate.",
      need: null,
      answers: {
        200: { description: "The document.", schema: Type.Object({ openapi: Type.Literal("3.1.0") }) },
      },
      errors: [],
      handle: () => ({ status: 200, type: "application/json; charset=utf-8", body: parts.document() }),
    },
    {
      id: "docs",
      method: "GET",
      path: "/docs",
      tag: "The server",
      summary: "This document, to read",
      description: "One page without a script.",
      need: null,
      answers: { 200: { description: "The page.", type: "text/html" } },
      errors: [],
      handle: () => {
        const { html, policy } = parts.page();
        const headers = { "content-security-policy": policy };
        return { status: 200, type: "text/html; charset=utf-8", body: html, headers };
      },
    },
  ];
}
