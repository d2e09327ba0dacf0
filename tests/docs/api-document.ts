import { serve } from "@lockdb/server";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

// biome-ignore lint/suspicious/noExplicitAny: the document is looked at as somebody else would.
type Json = any;

/** What the server says of itself at `/openapi.json`. */
export class ApiDocument {
  readonly #document: Json;
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false });

  private constructor(document: Json) {
    this.#document = document;
    this.#ajv.addSchema(document, "api");
  }

  static async ofServer(): Promise<ApiDocument> {
    const server = await serve({ port: 0, store: "memory", logLevel: "silent", signup: true });
    try {
      return new ApiDocument(await (await fetch(`${server.url}/openapi.json`)).json());
    } finally {
      await server.close();
    }
  }

  /** What is wrong with a request, or null. `body`: as text; what is a variable of the shell counts as a number. */
  problemOf(method: string, address: string, body: string | null): string | null {
    const [path = "", query = ""] = address.split("?");
    const template = Object.keys(this.#document.paths).find((each) =>
      new RegExp(`^${each.replace(/[.]/g, "\\.").replace(/\{\w+\}/g, "[^/]+")}$`).test(path),
    );
    if (template === undefined) return `there is no ${path}`;
    const operation = this.#document.paths[template][method.toLowerCase()];
    if (operation === undefined) return `${template} knows no ${method}`;
    const known = [...(this.#document.paths[template].parameters ?? []), ...(operation.parameters ?? [])]
      .filter((each: Json) => each.in === "query")
      .map((each: Json) => each.name);
    const strange = [...new URLSearchParams(query).keys()].filter((name) => !known.includes(name));
    if (strange.length > 0) return `${method} ${template} knows no ?${strange.join(", ")}`;
    const wanted = operation.requestBody;
    if (body === null) return wanted?.required === true ? `${method} ${template} needs a body` : null;
    if (wanted === undefined) return `${method} ${template} takes no body`;
    const value = jsonOf(body);
    if (value === undefined) return `this is no JSON: ${body}`;
    return this.#schemaProblem(template, method.toLowerCase(), value);
  }

  #schemaProblem(template: string, method: string, value: unknown): string | null {
    const escaped = template.replaceAll("~", "~0").replaceAll("/", "~1");
    const pointer = `api#/paths/${encodeURIComponent(escaped)}/${method}/requestBody/content/application~1json/schema`;
    const validate = this.#ajv.getSchema(pointer) as ValidateFunction;
    if (validate(value)) return null;
    return this.#ajv.errorsText(validate.errors);
  }
}

function jsonOf(text: string): unknown {
  const whole = text.replaceAll("…", "AndTheRest");
  for (const each of [whole, whole.replaceAll(/"?\$\{?\w+\}?"?/g, "1")]) {
    try {
      return JSON.parse(each);
    } catch {}
  }
  return undefined;
}
