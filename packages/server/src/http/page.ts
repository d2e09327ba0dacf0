/** What the page of the document is made with: no script, nothing from anywhere else. */
import { createHash } from "node:crypto";

export interface Page {
  readonly html: string;
  /** Lets the page show itself, and nothing else. */
  readonly policy: string;
}

/** The policy of a page with one style sheet in it. */
export function policyOf(style: string): string {
  const hash = createHash("sha256").update(style).digest("base64");
  return `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
}

/** As text in HTML, also inside of an attribute. */
export function text(value: string): string {
  return value.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

/** Colours, for light and for dark. */
export const PALETTE = `
:root{color-scheme:light dark;--ink:#1c2024;--dim:#5b636b;--paper:#fff;--soft:#f3f5f7;--line:#d9dee3;--link:#0a5fb4;--get:#0b6e4f;--post:#7a4a00;--put:#5a3ea6;--del:#a3202c}
@media (prefers-color-scheme:dark){:root{--ink:#e4e7ea;--dim:#9aa4ad;--paper:#15181b;--soft:#1f2428;--line:#343b41;--link:#7cb8f7;--get:#5fd0a5;--post:#e6b35c;--put:#b7a2f5;--del:#f58b94}}
`;
