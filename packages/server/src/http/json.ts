import { WIRE_LIMITS } from "lockdb/protocol";

/** Two ill-formed texts must not become one name (N1). */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** More than any object here has use for: metadata is at most 1 KiB. */
const FIELDS_MAX = 256;

export type Parsed = { readonly value: unknown } | { readonly problem: string };

/** Reads a body. JSON leaves open what a key means that is there twice: two readers of one body could differ. So it is refused. */
export function parseJson(bytes: Buffer): Parsed {
  try {
    const text = UTF8.decode(bytes);
    // First: what is too deep or too wide costs more to parse than to refuse.
    const problem = formProblem(text);
    return problem === null ? { value: JSON.parse(text) as unknown } : { problem };
  } catch {
    return { problem: "The body must be JSON." };
  }
}

/**
 * What is wrong with the form of a text that is to be JSON; of one that is none, anything or nothing.
 * @throws SyntaxError for some that are none
 */
function formProblem(text: string): string | null {
  /** The keys of each object that is open; null for an array. */
  const open: (Set<string> | null)[] = [];
  let isKey = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      const end = endOfString(text, at);
      const keys = open.at(-1);
      if (isKey && keys != null) {
        const key = JSON.parse(text.slice(at, end + 1)) as string;
        if (keys.has(key)) return `The field ${JSON.stringify(key.slice(0, 64))} is there twice.`;
        if (keys.size === FIELDS_MAX) return `An object has at most ${FIELDS_MAX} fields.`;
        keys.add(key);
      }
      isKey = false;
      at = end;
    } else if (char === "{" || char === "[") {
      if (open.length === WIRE_LIMITS.depthMax) return `The body nests deeper than ${WIRE_LIMITS.depthMax}.`;
      open.push(char === "{" ? new Set() : null);
      isKey = char === "{";
    } else if (char === "}" || char === "]") open.pop();
    else if (char === ",") isKey = true;
  }
  return null;
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  for (; at < text.length && text[at] !== '"'; at++) if (text[at] === "\\") at++;
  return at;
}
