import { ERRORS } from "lockdb/protocol";
import { errorsByStatus } from "./openapi.js";
import { type Operation, PARAMS } from "./operation.js";
import { PALETTE, type Page, policyOf, text } from "./page.js";

// biome-ignore lint/suspicious/noExplicitAny: the document is made here, of any JSON.
type Json = any;

/** The OpenAPI document to read: one page, no script, nothing from anywhere else. */
export function docsPage(document: Json, operations: readonly Operation[]): Page {
  const tags: readonly string[] = document.tags.map(({ name }: Json) => name);
  const of = (tag: string) => operations.filter((each) => each.tag === tag);
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>LockDB HTTP API</title><style>${STYLE}</style></head><body>
<nav aria-label="Contents"><a href="#top"><strong>LockDB HTTP API</strong></a>
${tags.map((tag) => `<h2>${text(tag)}</h2><ul>${of(tag).map(link).join("")}</ul>`).join("\n")}
<h2>More</h2><ul><li><a href="#schemas">Schemas</a></li><li><a href="#errors">Errors</a></li>
<li><a href="/openapi.json">openapi.json</a></li></ul></nav>
<main id="top"><h1>LockDB HTTP API <small>${text(document.info.version)}</small></h1>
${prose(document.info.description)}
${tags
  .map(
    (tag) =>
      `<h2>${text(tag)}</h2>${of(tag)
        .map((each) => section(each, document))
        .join("\n")}`,
  )
  .join("\n")}
<h2 id="schemas">Schemas</h2>
${Object.entries(document.components.schemas)
  .map(([name, schema]) => `<section id="schema-${name}"><h3>${text(name)}</h3>${shape(schema)}</section>`)
  .join("\n")}
<h2 id="errors">Errors</h2>${errorTable(Object.keys(ERRORS) as (keyof typeof ERRORS)[])}
</main></body></html>
`;
  return { html, policy: policyOf(STYLE) };
}

function link({ id, method, summary }: Operation): string {
  return `<li><a href="#${id}"><b class="${method}">${method}</b> ${text(summary)}</a></li>`;
}

function section(operation: Operation, document: Json): string {
  const { id, method, path, summary, description, need, answers } = operation;
  const described = document.paths[path][method.toLowerCase()];
  const codes = [...errorsByStatus(operation).values()].flat();
  return `<section id="${id}"><h3><b class="${method}">${method}</b> <code>${text(path)}</code></h3>
<p class="summary">${text(summary)}${need === null ? " <em>No key needed.</em>" : ""}</p>
${prose(description)}
${parameters(described.parameters)}
${body(described.requestBody, operation, document)}
<h4>Answers</h4>${Object.entries(answers)
    .map(([status, { description, example, type }]) => {
      const schema = described.responses[status].content["application/json"]?.schema;
      const shown = example === undefined ? "" : `<pre>${text(JSON.stringify(example, null, 2))}</pre>`;
      const is = [type, schema === undefined ? undefined : kind(schema, true)].filter(
        (each) => each !== undefined,
      );
      return `<p><b>${status}</b> ${text(description)} ${is.join(" or ")}</p>${shown}`;
    })
    .join("")}
<details><summary>Refusals: ${codes.map((code) => `<code>${code}</code>`).join(" ")}</summary>${errorTable(codes)}</details>
</section>`;
}

function parameters(all: readonly Json[]): string {
  if (all.length === 0) return "";
  const rows = all.map(({ name, in: where, required, schema, description }) => {
    const about = description ?? schema.description ?? "";
    return [
      `<code>${text(name)}</code>`,
      `${where}${required ? "" : ", optional"}`,
      kind(schema, true),
      inline(about),
    ];
  });
  return `<h4>Parameters</h4>${table(["name", "in", "is", ""], rows)}`;
}

function body(requestBody: Json, { examples = {}, method, path }: Operation, document: Json): string {
  if (requestBody === undefined) return "";
  const [{ schema }] = Object.values(requestBody.content) as Json[];
  const shown = Object.entries(examples).map(
    ([summary, value]) =>
      `<figure><figcaption>${text(summary)}</figcaption><pre>${text(curl(method, path, value))}</pre></figure>`,
  );
  const whole =
    schema.$ref === undefined ? schema : document.components.schemas[schema.$ref.split("/").at(-1)];
  return `<h4>Body</h4>${shape(whole)}${shown.join("")}`;
}

function curl(method: string, path: string, value: object): string {
  const verb = method === "POST" ? "" : ` -X ${method}`;
  // As it stands: curl takes braces for a list.
  const address = path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent((PARAMS[name] as Json).examples[0]),
  );
  return `curl${verb} -H "authorization: Bearer $LOCKDB_API_KEY" \\\n  $LOCKDB_SERVER_URL${address} \\\n  -d '${JSON.stringify(value)}'`;
}

/** The fields of an object, or what else it is. */
function shape(schema: Json): string {
  const about = schema.description === undefined ? "" : `<p>${inline(schema.description)}</p>`;
  if (schema.properties === undefined || Object.keys(schema.properties).length === 0)
    return `${about}<p>${kind(schema, false)}</p>`;
  const required: readonly string[] = schema.required ?? [];
  const rows = Object.entries(schema.properties as Record<string, Json>).map(([name, field]) => [
    `<code>${text(name)}</code>`,
    `${kind(field, false)}${required.includes(name) ? "" : ", optional"}`,
    inline(field.description ?? ""),
  ]);
  return about + table(["field", "is", ""], rows);
}

/** What a value is, in a few words. */
function kind(schema: Json, isLong: boolean): string {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split("/").at(-1);
    return `<a href="#schema-${name}">${name}</a>`;
  }
  const more = [
    schema.default === undefined ? "" : `default <code>${text(JSON.stringify(schema.default))}</code>`,
    schema.minimum === undefined ? "" : `from ${schema.minimum.toLocaleString("en")}`,
    schema.maximum === undefined ? "" : `to ${schema.maximum.toLocaleString("en")}`,
    schema.maxItems === undefined ? "" : `at most ${schema.maxItems}`,
    schema.pattern === undefined || !isLong ? "" : `<code class="wrap">${text(schema.pattern)}</code>`,
  ].filter((each) => each !== "");
  return [named(schema), ...more].join(", ");
}

function named(schema: Json): string {
  if (schema.const !== undefined) return `<code>${text(JSON.stringify(schema.const))}</code>`;
  if (schema.enum !== undefined)
    return schema.enum.map((each: unknown) => `<code>${text(String(each))}</code>`).join(" ");
  if (schema.anyOf !== undefined) return schema.anyOf.map((each: Json) => kind(each, false)).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items, false)}`;
  if (
    schema.type === "object" &&
    schema.properties !== undefined &&
    Object.keys(schema.properties).length > 0
  )
    return `{ ${Object.entries(schema.properties as Record<string, Json>)
      .map(([name, field]) => `<code>${text(name)}</code>: ${kind(field, false)}`)
      .join("; ")} }`;
  return text([schema.type ?? "anything"].flat().join(" or "));
}

function errorTable(codes: readonly (keyof typeof ERRORS)[]): string {
  const rows = codes
    .filter((code) => ERRORS[code].status !== null)
    .map((code) => {
      const { status, message, retryable } = ERRORS[code];
      return [`<code>${code}</code>`, String(status), retryable ? "yes" : "no", text(message)];
    });
  return table(["code", "status", "try again", "next step"], rows);
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = heads.map((each) => `<th scope="col">${each}</th>`).join("");
  const lines = rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("");
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${lines}</tbody></table></div>`;
}

function prose(markdown: string): string {
  return markdown
    .split("\n\n")
    .map((paragraph) => `<p>${inline(paragraph)}</p>`)
    .join("\n");
}

/** Text with `code` and **bold** in it. */
function inline(markdown: string): string {
  return text(markdown)
    .replace(/`([^`]+)`/g, "<code>$1</code>")
    .replace(/\*\*([^*]+)\*\*/g, "<strong>$1</strong>");
}

const STYLE = `${PALETTE}*{box-sizing:border-box}html{scroll-padding-top:1rem}
body{margin:0;font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);display:grid;grid-template-columns:17rem minmax(0,1fr)}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1.2rem;border-right:1px solid var(--line);background:var(--soft);font-size:.88rem}
nav ul{list-style:none;margin:0;padding:0}nav li{margin:.2rem 0}nav h2{font-size:.78rem;margin:1.1rem 0 .3rem;color:var(--dim);border:0;padding:0}
main{padding:1.5rem 2.5rem 6rem;max-width:60rem}
a{color:var(--link);text-decoration:none}a:hover,a:focus{text-decoration:underline}
h1{font-size:1.7rem;margin:.2rem 0 1rem}h1 small{font-size:.9rem;color:var(--dim);font-weight:400}
h2{font-size:1.3rem;margin:3rem 0 .5rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{font-size:1.05rem;margin:2rem 0 .3rem}h4{font-size:.9rem;margin:1.2rem 0 .4rem;color:var(--dim)}
.summary{font-weight:600;margin:.2rem 0}code,pre{font-family:ui-monospace,monospace;font-size:.87em}
code{background:var(--soft);padding:.08em .3em;border-radius:3px;overflow-wrap:anywhere}h3 code{background:none;padding:0}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.8rem;overflow:auto;margin:.3rem 0}
figure{margin:.8rem 0}figcaption{font-size:.85rem;color:var(--dim)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}th{text-align:left;color:var(--dim);font-weight:600}
th,td{padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:first-child code{white-space:nowrap}
details{margin:.8rem 0}summary{cursor:pointer;font-size:.9rem}
b.GET{color:var(--get)}b.POST{color:var(--post)}b.PUT,b.PATCH{color:var(--put)}b.DELETE{color:var(--del)}nav b{font-size:.72rem}
@media (max-width:800px){body{display:block}nav{position:static;height:auto;border-right:0;border-bottom:1px solid var(--line)}main{padding:1rem}}
`;
