import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, addressOf, errorIn, signupIsOn } from "../api.js";
import { Brand } from "../icons.js";
import { go, problemOf, signIn } from "../state.js";
import { Button, Loading, Problem, Secret, Snippet } from "../ui.js";
import { curlSnippet, trySnippet } from "./start.js";

interface Begun {
  readonly account: { readonly id: string; readonly trialEndsAt: string };
  readonly apiKey: string;
}

export function SignUp() {
  const isOn = useSignal<boolean | null>(null);
  const begun = useSignal<Begun | null>(null);
  useEffect(() => {
    document.title = "Start a trial · LockDB";
    void signupIsOn().then((value) => {
      isOn.value = value;
    });
  }, []);
  return (
    <main class="alone" id="screen">
      <div class={`door ${begun.value === null ? "" : "wide"}`}>
        <div class="door-brand">
          <Brand />
          <span>LockDB</span>
        </div>
        {begun.value !== null ? (
          <Begins {...begun.value} />
        ) : isOn.value === null ? (
          <Loading />
        ) : isOn.value ? (
          <Form
            onBegun={(value) => {
              begun.value = value;
            }}
          />
        ) : (
          <>
            <h1>No trials here</h1>
            <p>This server does not give out trials. Ask its operator for a key.</p>
          </>
        )}
        {begun.value === null ? (
          <ul class="door-links">
            <li>
              <a href="#/">I have a key</a>
            </li>
            <li>
              <a href={addressOf("/docs")}>HTTP API</a>
            </li>
          </ul>
        ) : null}
      </div>
    </main>
  );
}

function Form({ onBegun }: { readonly onBegun: (begun: Begun) => void }) {
  const email = useSignal("");
  const problem = useSignal("");
  const isBusy = useSignal(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (isBusy.value) return;
    const given = email.value.trim();
    if (!/^[^\s@]+@[^\s@]+$/.test(given)) {
      problem.value = "Enter an email address, such as dev@example.com.";
      return field.current?.focus();
    }
    isBusy.value = true;
    try {
      onBegun(await begin(given));
    } catch (error) {
      const minutes = error instanceof ApiError ? Math.ceil(error.retryAfterS / 60) : 0;
      problem.value = problemOf(error) + (minutes > 1 ? ` It is possible again in ${minutes} minutes.` : "");
    }
    isBusy.value = false;
  };
  return (
    <>
      <h1>Try LockDB for 30 days</h1>
      <p>You get an account of your own on this server, and an API key at once. No password, no card.</p>
      <form onSubmit={submit} method="post" noValidate>
        <label for="email">Email</label>
        <input
          id="email"
          ref={field}
          type="email"
          autocomplete="email"
          autocapitalize="none"
          spellcheck={false}
          maxLength={254}
          aria-describedby="email-hint"
          aria-invalid={problem.value !== ""}
          value={email.value}
          onInput={(event) => {
            email.value = event.currentTarget.value;
          }}
        />
        <p class="hint" id="email-hint">
          Whom the operator may ask about this account. Nothing is sent to it.
        </p>
        <Problem text={problem.value} />
        <Button tone="main" type="submit" disabled={isBusy.value}>
          Start the trial
        </Button>
      </form>
      <p class="hint">
        A trial may have 50 requests a second, 1,000 locks held or waited for, 100 sessions. When it ends new
        locks are refused, and what is held can still be released.
      </p>
    </>
  );
}

/** @throws ApiError */
async function begin(email: string): Promise<Begun> {
  let response: Response;
  try {
    response = await fetch(addressOf("/v1/signup"), { method: "POST", body: JSON.stringify({ email }) });
  } catch {
    throw new ApiError("CONNECTION", "The server cannot be reached.", 0);
  }
  if (!response.ok) throw await errorIn(response);
  return (await response.json()) as Begun;
}

function Begins({ account, apiKey }: Begun) {
  const problem = useSignal("");
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = "Your trial has begun · LockDB";
    title.current?.focus();
  }, []);
  const day = new Date(account.trialEndsAt).toLocaleDateString("en-GB", {
    dateStyle: "long",
    timeZone: "UTC",
  });
  return (
    <>
      <h1 tabIndex={-1} ref={title}>
        Your trial has begun
      </h1>
      <p>
        It ends on <time dateTime={account.trialEndsAt}>{day}</time>. Your account is{" "}
        <code>{account.id}</code>.
      </p>
      <Secret label="Your API key" value={apiKey} />
      <h2>Take the first lock</h2>
      <p>In a terminal, with Node.js:</p>
      <Snippet label="Commands that take a lock" text={trySnippet(apiKey)} />
      <p>Or with nothing but curl:</p>
      <Snippet label="The same with curl" text={curlSnippet(apiKey)} />
      <p class="hint">
        Whoever has this key may do everything in your account. Make one for each of your services that may do
        less.
      </p>
      <Problem text={problem.value} />
      <Button
        tone="main"
        onClick={async () => {
          try {
            await signIn(apiKey);
            go({ screen: "start" });
          } catch (error) {
            problem.value = problemOf(error);
          }
        }}
      >
        I have copied it: go on
      </Button>
    </>
  );
}
