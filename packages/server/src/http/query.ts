import type { TObject } from "./type.js";

export type Query = Readonly<Record<string, string | number>>;

const NUMBER = /^\d{1,16}$/;

/**
 * The query of an address, or what is wrong with it. Strict where parsers usually guess: an encoding that is none, and a name
 * that is there twice, are refused.
 * @param schema says which values are numbers
 */
export function parseQuery(url: string, schema: TObject): Query | string {
  const start = url.indexOf("?");
  const text = start === -1 ? "" : url.slice(start + 1);
  const query: Record<string, string | number> = Object.create(null);
  for (const part of text.split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = decoded(equals === -1 ? part : part.slice(0, equals));
    const value = decoded(equals === -1 ? "" : part.slice(equals + 1));
    if (name === null || value === null) return "The query is not percent-encoded UTF-8.";
    if (name in query) return `The query has ${JSON.stringify(name.slice(0, 64))} twice.`;
    const property = (schema.properties as Record<string, { type?: string }>)[name];
    query[name] = property?.type === "integer" && NUMBER.test(value) ? Number(value) : value;
  }
  return query;
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return null;
  }
}
