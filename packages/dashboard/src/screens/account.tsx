import { useEffect } from "preact/hooks";
import { count, plural } from "../format.js";
import { usePoll } from "../hooks.js";
import { api, self } from "../state.js";
import { Badge, Card, Foreign, Head, Problem, Time } from "../ui.js";

const POLL_MS = 10_000;
const WORDS: Readonly<Record<string, string>> = {
  requestsPerSecond: "Requests a second",
  holds: "Holds, with those who wait",
  waiters: "Waiting requests",
  sessions: "Sessions",
  services: "Services",
  keys: "API keys",
  connections: "Open connections",
  deliveries: "Webhook calls under way",
  acts: "Entries in the audit log",
};

export function Account() {
  const { value, problem } = usePoll(
    async (signal) => {
      const found = await api.value!.get<NonNullable<typeof self.value>>("/v1/self", {}, signal);
      self.value = found;
      return found;
    },
    POLL_MS,
    "self",
  );
  useEffect(() => {
    document.title = "Account · LockDB";
  }, []);
  const { key, account } = value.value ?? self.value!;
  const { trialEndsAt, daysLeft } = account;
  return (
    <>
      <Head title="Account" beside={<code>{account.id}</code>} />
      <Problem text={problem.value} />
      {trialEndsAt === null ? null : (
        <Card title={daysLeft === 0 ? "The trial has ended" : `${plural(daysLeft ?? 0, "day")} left`}>
          <meter
            class="trial"
            min={0}
            max={30}
            low={3}
            optimum={30}
            value={daysLeft ?? 0}
            aria-label="Days left of the trial"
          />
          <p>
            {daysLeft === 0 ? (
              "New locks are refused. What is held can be released, and everything can be looked at."
            ) : (
              <>
                The trial ends <Time ms={Date.parse(trialEndsAt)} />. Then new locks are refused, and what is
                held can still be released.
              </>
            )}{" "}
            The operator of this server can extend it.
          </p>
        </Card>
      )}
      <div class="two">
        <Card title="Your key">
          <dl class="facts">
            <dt>Name</dt>
            <dd>
              <Foreign text={key.name} isLong />
            </dd>
            <dt>Id</dt>
            <dd>
              <code>{key.id}</code>
            </dd>
            <dt>May</dt>
            <dd class="scopes">
              {key.scopes.map((scope) => (
                <Badge key={scope} tone={scope === "admin" || scope === "force" ? "wait" : "plain"}>
                  {scope}
                </Badge>
              ))}
            </dd>
            <dt>Services</dt>
            <dd>{key.services === null ? "all" : key.services.join(", ")}</dd>
            <dt>Ends</dt>
            <dd>{key.expiresAt === null ? "never" : <Time ms={Date.parse(key.expiresAt)} />}</dd>
          </dl>
        </Card>
        <Card title="The account">
          <dl class="facts">
            <dt>Email</dt>
            <dd>
              {account.email === null ? (
                <span class="dim">none</span>
              ) : (
                <Foreign text={account.email} isLong />
              )}
            </dd>
            <dt>Made</dt>
            <dd>
              {Date.parse(account.createdAt) === 0 ? (
                "with the server"
              ) : (
                <Time ms={Date.parse(account.createdAt)} />
              )}
            </dd>
            <dt>Kind</dt>
            <dd>
              {account.id === "default"
                ? "the operator's"
                : trialEndsAt === null
                  ? "an account of its own"
                  : "a trial"}
            </dd>
          </dl>
        </Card>
      </div>
      <Card title="Use and limits">
        <table class="plain-table limits">
          <thead>
            <tr>
              <th scope="col">What</th>
              <th scope="col" class="number">
                Now
              </th>
              <th scope="col" class="number">
                At most
              </th>
              <th scope="col">
                <span class="off-screen">How full</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {Object.keys(WORDS).map((name) => {
              const [use, limit] = [account.use[name], account.limits[name] ?? null];
              return (
                <tr key={name}>
                  <th scope="row">{WORDS[name]}</th>
                  <td class="number">{use === undefined ? <span class="dim">–</span> : count(use)}</td>
                  <td class="number">{limit === null ? <span class="dim">no limit</span> : count(limit)}</td>
                  <td>
                    {use === undefined || limit === null ? null : (
                      <meter
                        min={0}
                        max={Math.max(1, limit)}
                        high={limit * 0.8}
                        optimum={0}
                        value={Math.min(use, limit)}
                        aria-label={`${WORDS[name]}: ${use} of ${limit}`}
                      />
                    )}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Card>
    </>
  );
}
