import { SERVER_URL } from "../api.js";
import { api, may } from "../state.js";
import { Card, Head, Snippet } from "../ui.js";

/** Three lines to run. */
export function trySnippet(apiKey: string, service = "demo"): string {
  return `export LOCKDB_SERVER_URL=${SERVER_URL} LOCKDB_SERVICE_ID=${service}
export LOCKDB_API_KEY=${apiKey}
npx lockdb run teapot -- sleep 60`;
}

export function curlSnippet(apiKey: string, service = "demo"): string {
  return `curl -H "authorization: Bearer ${apiKey}" \\
  ${SERVER_URL}/v1/services/${service}/acquire -d '{"names": "teapot"}'`;
}

/** No service was used yet. */
export function NothingYet() {
  const key = may("lock") ? "…your key…" : "…a key with the scope lock…";
  return (
    <>
      <Head title="Nothing is locked yet" beside={null} />
      <Card title="Take the first lock">
        <p>In a terminal, with Node.js. The lock shows up here while the command runs.</p>
        <Snippet label="Commands that take a lock" text={trySnippet(key)} />
        <p>Or over HTTP, for half a minute:</p>
        <Snippet label="The same with curl" text={curlSnippet(key)} />
        <p class="dim">
          {api.value !== null && may("admin") ? (
            <>
              Give each of your services a key of its own: <a href="#/keys">Keys</a>.
            </>
          ) : (
            "A service comes to be when it is first used."
          )}
        </p>
      </Card>
    </>
  );
}
