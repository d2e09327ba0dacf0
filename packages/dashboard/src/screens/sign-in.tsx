import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { addressOf, signupIsOn } from "../api.js";
import { Brand, Icon } from "../icons.js";
import { problemOf, signedOutBecause, signIn } from "../state.js";
import { Button, Problem } from "../ui.js";

export function SignIn() {
  const apiKey = useSignal("");
  const problem = useSignal(signedOutBecause.value);
  const isBusy = useSignal(false);
  const hasSignup = useSignal(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = "Sign in · LockDB";
    field.current?.focus();
    void signupIsOn().then((isOn) => {
      hasSignup.value = isOn;
    });
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    const given = apiKey.value.trim();
    if (given === "" || isBusy.value) return field.current?.focus();
    isBusy.value = true;
    try {
      await signIn(given);
    } catch (error) {
      const text = problemOf(error);
      problem.value = text === "Unauthorized" ? "The server does not know this key." : text;
      field.current?.select();
    }
    isBusy.value = false;
  };
  return (
    <main class="alone" id="screen">
      <div class="door">
        <div class="door-brand">
          <Brand />
          <span>LockDB</span>
        </div>
        <h1>Sign in</h1>
        <form onSubmit={submit} method="post">
          <label for="api-key">API key</label>
          <input
            id="api-key"
            ref={field}
            type="password"
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            placeholder="ldb_…"
            aria-describedby="key-hint"
            aria-invalid={problem.value !== ""}
            value={apiKey.value}
            onInput={(event) => {
              apiKey.value = event.currentTarget.value;
            }}
          />
          <p class="hint" id="key-hint">
            It stays in this tab, and is forgotten when you close it. A key with the scope <code>read</code>{" "}
            is enough to look.
          </p>
          <Problem text={problem.value} />
          <Button tone="main" type="submit" disabled={isBusy.value}>
            {isBusy.value ? "Signing in…" : "Sign in"}
          </Button>
        </form>
        <ul class="door-links">
          {hasSignup.value ? (
            <li>
              <a href="#/signup">
                <Icon name="star" />
                Start a free trial
              </a>
            </li>
          ) : null}
          <li>
            <a href={addressOf("/docs")}>
              <Icon name="book" />
              HTTP API
            </a>
          </li>
        </ul>
      </div>
    </main>
  );
}
