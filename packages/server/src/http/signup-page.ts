import type { ErrorCode } from "lockdb/protocol";
import { type AccountInfo, LIMITS_TRIAL, type Limits, TRIAL_MS } from "../access/index.js";
import { PALETTE, policyOf, text } from "./page.js";

export interface SignupPage {
  readonly html: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What was wrong with what was sent. */
export interface FormFault {
  readonly code: ErrorCode;
  readonly message: string;
  /** Until it is worth trying again; 0: it is for the user to change something. */
  readonly seconds: number;
  /** As it was typed in. */
  readonly email: string;
}

const DAYS = TRIAL_MS / (24 * 3_600_000);

/** The form, and what was wrong with it when it was sent. */
export function formPage(fault: FormFault | null): SignupPage {
  // Only this is mended in the field; all else is about the whole.
  const isField = fault?.code === "INVALID";
  const described = isField ? "email-hint email-fault" : "email-hint";
  const title = `${fault === null ? "" : "Error: "}Try LockDB for ${DAYS} days`;
  return page(
    title,
    `<h1>Try LockDB for ${DAYS} days</h1>
<p class="lead">You get an account of your own on this server, and an API key at once. No password, no card.</p>
${fault === null || isField ? "" : `<div class="fault" role="alert"><p><strong>The trial has not begun.</strong> ${text(fault.message)}${waitText(fault.seconds)}</p></div>`}
<form method="post" action="/signup" novalidate>
<label for="email">Email</label>
<p class="hint" id="email-hint">Whom the operator may ask about this account. Nothing is sent to it.</p>
${isField ? `<p class="wrong" id="email-fault" role="alert"><strong>Error:</strong> ${text(fault.message)}</p>` : ""}
<input id="email" name="email" type="email" autocomplete="email" autocapitalize="none" spellcheck="false" maxlength="254" required aria-describedby="${described}"${isField ? ' aria-invalid="true" autofocus' : ""} value="${text(fault?.email ?? "")}">
<button>Start the trial</button>
</form>
<h2>What you may use</h2>
${limitsList(LIMITS_TRIAL)}
<p>After ${DAYS} days new locks are refused, and what is held can still be released. The operator of this server can extend a trial.</p>`,
  );
}

/**
 * The answer with the key, which stands nowhere else.
 * @param address of this server, as a shell can take it; null: it cannot be told
 */
export function keyPage(
  { id, trialEndsAt, daysLeft, limits }: AccountInfo,
  apiKey: string,
  address: string | null,
): SignupPage {
  const day = new Date(trialEndsAt!).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });
  const where = address ?? "https://address-of-this-server";
  return page(
    "Your trial has begun",
    `<h1>Your trial has begun</h1>
<p class="lead">It ends on <time datetime="${trialEndsAt}">${day}</time>, in ${daysLeft} days. Your account is <code>${id}</code>.</p>
<div class="key"><label for="key">Your API key</label>
<input id="key" class="secret" readonly value="${text(apiKey)}" size="${apiKey.length}" autocomplete="off" spellcheck="false" aria-describedby="key-hint">
<p id="key-hint"><strong>It is shown only now: copy it before you leave.</strong> Double-click selects it. Whoever has it can do all that your account can, so keep it where you
keep passwords.</p></div>
<h2 id="try">Try it</h2>
<p>In a terminal, with Node.js:</p>
<pre tabindex="0" role="region" aria-labelledby="try"><code>export LOCKDB_SERVER_URL=${text(where)}
export LOCKDB_API_KEY=${text(apiKey)}
export LOCKDB_SERVICE_ID=demo
npx lockdb lock teapot
npx lockdb show teapot
npx lockdb unlock teapot</code></pre>
<p>Or, after the same <code>export</code> lines, with nothing but curl:</p>
<pre tabindex="0" role="region" aria-label="With curl"><code>curl -H "authorization: Bearer $LOCKDB_API_KEY" \\
  $LOCKDB_SERVER_URL/v1/services/demo/acquire -d '{"names": "teapot"}'</code></pre>
${address === null ? "<p>Put the address of this server in the first line.</p>" : ""}
<p>This key may do everything in your account. <a href="/docs#createKey">Make one for each of your services</a> that may do less.</p>
<h2>What you may use</h2>
${limitsList(limits)}
<p>After that day new locks are refused with <code>TRIAL_ENDED</code>, and what is held can still be released. The operator of this server can extend a trial.</p>`,
  );
}

const LIMIT_WORDS: { readonly [K in keyof Limits]: string } = {
  requestsPerSecond: "requests a second",
  holds: "locks held or waited for",
  waiters: "waiting requests",
  sessions: "sessions",
  services: "services",
  keys: "API keys",
  connections: "open connections",
  deliveries: "webhook calls under way",
  acts: "entries in the audit log",
};

function limitsList(limits: Limits): string {
  const names = Object.keys(LIMIT_WORDS) as (keyof Limits)[];
  const rows = names.map((name) => {
    const shown = limits[name]?.toLocaleString("en") ?? "any number of";
    return `<li><strong>${shown}</strong> ${LIMIT_WORDS[name]}</li>`;
  });
  return `<ul class="limits">${rows.join("")}</ul>`;
}

/** Only a wait that is worth telling: a second is over before it is read. */
function waitText(seconds: number): string {
  if (seconds < 60) return "";
  const minutes = Math.ceil(seconds / 60);
  return ` It is possible again in ${minutes === 1 ? "a minute" : `${minutes} minutes`}.`;
}

function page(title: string, main: string): SignupPage {
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
${REFERRER}<title>${title} · LockDB</title><style>${STYLE}</style></head><body>
<header><strong>LockDB</strong><nav aria-label="More"><a href="/docs">HTTP API</a></nav></header>
<main>
${main}
</main></body></html>
`;
  const headers = {
    // One of these pages has a key.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": policyOf(STYLE, "'self'"),
    "referrer-policy": "no-referrer",
  };
  return { html, headers };
}

/** Stronger than the header: a browser then says of a form which page it was on, to this server only. Else it would hide it from all. */
const REFERRER = '<meta name="referrer" content="same-origin">';

const STYLE = `${PALETTE}
*{box-sizing:border-box}
body{margin:0;font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
header{display:flex;justify-content:space-between;padding:.9rem 1.2rem;border-bottom:1px solid var(--line);background:var(--soft)}
main{max-width:45rem;margin:0 auto;padding:1.5rem 1.2rem 4rem}
a{color:var(--link)}
h1{font-size:1.8rem;line-height:1.2;margin:1rem 0 .6rem}h2{font-size:1.15rem;margin:2.4rem 0 .5rem}
.lead{font-size:1.08rem;margin:0 0 1.6rem}
label{display:block;font-weight:600}
.hint{margin:.1rem 0 .5rem;color:var(--dim);font-size:.93rem}
form{margin:1.6rem 0}
input{font:inherit;color:inherit;background:var(--paper);width:100%;padding:.6rem .7rem;border:1px solid var(--dim);border-radius:6px}
input[aria-invalid]{border:2px solid var(--del)}
form input{max-width:26rem;display:block}
button{font:inherit;font-weight:600;margin-top:1rem;padding:.65rem 1.3rem;border:1px solid var(--link);border-radius:6px;background:var(--link);color:var(--paper);cursor:pointer}
button:hover{filter:brightness(1.1)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.wrong{color:var(--del);margin:.2rem 0 .4rem}
.fault{border:1px solid var(--del);border-left-width:6px;border-radius:6px;padding:.2rem 1rem;margin:1.2rem 0}
.key{border:1px solid var(--line);border-left:6px solid var(--link);border-radius:6px;background:var(--soft);padding:.9rem 1rem .3rem}
.secret{font:.88rem/1.4 ui-monospace,monospace;margin-top:.3rem}
code,pre{font-family:ui-monospace,monospace;font-size:.88rem}
code{background:var(--soft);padding:.08em .3em;border-radius:3px;overflow-wrap:anywhere}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.8rem;margin:.5rem 0;overflow-x:auto}
pre code{padding:0;background:none;overflow-wrap:normal}
.limits{list-style:none;padding:0;margin:.6rem 0;display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.3rem 1rem}
`;
