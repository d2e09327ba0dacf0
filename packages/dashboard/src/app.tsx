/** The frame around all screens: where one can go, which service, and whether the server is there. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { addressOf, link } from "./api.js";
import { Brand, Icon, type IconName } from "./icons.js";
import { type Route, toHash } from "./route.js";
import { Account } from "./screens/account.js";
import { Cluster } from "./screens/cluster.js";
import { Events } from "./screens/events.js";
import { Keys } from "./screens/keys.js";
import { Lock } from "./screens/lock.js";
import { Locks } from "./screens/locks.js";
import { Now } from "./screens/now.js";
import { Sessions } from "./screens/sessions.js";
import { SignIn } from "./screens/sign-in.js";
import { SignUp } from "./screens/sign-up.js";
import { NothingYet } from "./screens/start.js";
import {
  api,
  go,
  loadServices,
  may,
  mayAll,
  problemOf,
  route,
  said,
  self,
  service,
  services,
  signOut,
  takeUp,
  theme,
  times,
} from "./state.js";
import { Button, Choice, Empty, Loading, Problem, Time } from "./ui.js";

const SERVICES_AGAIN_MS = 5_000;

export function App() {
  const isTakenUp = useSignal(false);
  const problem = useSignal("");
  useEffect(() => {
    const begin = async () => {
      try {
        await takeUp();
        problem.value = "";
        isTakenUp.value = true;
      } catch (error) {
        problem.value = problemOf(error);
        setTimeout(begin, 3_000);
      }
    };
    void begin();
  }, []);
  return (
    <>
      <p class="off-screen" role="status">
        {said.value}
      </p>
      {isTakenUp.value ? (
        <Signed />
      ) : problem.value === "" ? (
        <Loading />
      ) : (
        <main class="alone">
          <Problem text={problem.value}>Trying again.</Problem>
        </main>
      )}
    </>
  );
}

function Signed() {
  if (route.value.screen === "signup") return <SignUp />;
  if (api.value === null) return <SignIn />;
  return <Frame />;
}

interface Place {
  readonly to: Route;
  readonly text: string;
  readonly icon: IconName;
  readonly screens: readonly Route["screen"][];
}

function places(): { readonly ofService: readonly Place[]; readonly others: readonly Place[] } {
  const id = service.value;
  const ofService: Place[] = may("read")
    ? [
        {
          to: id === "" ? { screen: "start" } : { screen: "now", service: id },
          text: "Now",
          icon: "pulse",
          screens: ["now", "start"],
        },
        ...(id === ""
          ? []
          : ([
              {
                to: { screen: "locks", service: id, prefix: "", only: "" },
                text: "Locks",
                icon: "lock",
                screens: ["locks", "lock"],
              },
              {
                to: { screen: "sessions", service: id },
                text: "Sessions",
                icon: "people",
                screens: ["sessions"],
              },
              { to: { screen: "events", service: id }, text: "Events", icon: "list", screens: ["events"] },
            ] as const)),
      ]
    : [];
  const others: Place[] = [
    ...(may("admin")
      ? [{ to: { screen: "keys" }, text: "Keys", icon: "key", screens: ["keys"] } as const]
      : []),
    { to: { screen: "account" }, text: "Account", icon: "account", screens: ["account"] },
    { to: { screen: "cluster" }, text: "Server", icon: "cluster", screens: ["cluster"] },
  ];
  return { ofService, others };
}

function Frame() {
  const isOpen = useSignal(false);
  const { screen } = route.value;
  const key = toHash(route.value).split("?")[0]!;
  useEffect(() => {
    isOpen.value = false;
    document.getElementById("screen-title")?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [key]);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) loadServices().catch(() => {});
    }, SERVICES_AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  const { ofService, others } = places();
  const item = ({ to, text, icon, screens }: Place) => (
    <li key={text}>
      <a href={toHash(to)} aria-current={screens.includes(screen) ? "page" : undefined}>
        <Icon name={icon} />
        {text}
      </a>
    </li>
  );
  return (
    <div class={`frame ${isOpen.value ? "menu-open" : ""}`}>
      <button type="button" class="skip" onClick={() => document.getElementById("screen-title")?.focus()}>
        Skip to the screen
      </button>
      <div class="side">
        <div class="brand-line">
          <a class="brand" href="#/" aria-label="LockDB, to the start">
            <Brand />
            LockDB
          </a>
          <Button
            tone="quiet"
            icon={isOpen.value ? "close" : "menu"}
            class="button quiet menu-button"
            aria-expanded={isOpen.value}
            aria-controls="menu"
            aria-label="Menu"
            onClick={() => {
              isOpen.value = !isOpen.value;
            }}
          />
        </div>
        <div class="menu" id="menu">
          {may("read") && service.value !== "" ? <ServicePicker /> : null}
          <nav aria-label="Screens">
            {ofService.length === 0 ? null : <ul>{ofService.map(item)}</ul>}
            <ul>{others.map(item)}</ul>
          </nav>
          <div class="side-end">
            <Choice
              label="How times are shown"
              value={times.value as "ago" | "utc"}
              options={[
                ["ago", "Relative"],
                ["utc", "UTC"],
              ]}
              onPick={(value) => {
                times.value = value;
              }}
            />
            <Choice
              label="Colours"
              value={theme.value as "auto"}
              options={
                [
                  ["auto", "System"],
                  ["light", "Light"],
                  ["dark", "Dark"],
                ] as [never, string][]
              }
              onPick={(value: string) => {
                theme.value = value;
              }}
            />
            <div class="side-links">
              <a href={addressOf("/docs")}>
                <Icon name="book" />
                HTTP API
              </a>
              <Button
                tone="quiet"
                icon="out"
                onClick={() => {
                  signOut();
                  go({ screen: "start" });
                }}
              >
                Sign out
              </Button>
            </div>
            <p class="signed dim">
              {self.value?.key.name === "" ? self.value?.key.id : <bdi>{self.value?.key.name}</bdi>}
              {may("force") || may("admin") ? null : " · may only look"}
            </p>
          </div>
        </div>
      </div>
      <main id="screen">
        <Link />
        <Screen />
      </main>
    </div>
  );
}

function ServicePicker() {
  const known = services.value ?? [];
  const all = known.includes(service.value) ? known : [service.value, ...known];
  return (
    <label class="service-picker">
      <span>Service</span>
      <select
        value={service.value}
        onChange={(event) => {
          const { screen } = route.value;
          const id = event.currentTarget.value;
          if (screen === "sessions" || screen === "events") go({ screen, service: id });
          else if (screen === "locks" || screen === "lock")
            go({ screen: "locks", service: id, prefix: "", only: "" });
          else go({ screen: "now", service: id });
        }}
      >
        {all.map((id) => (
          <option key={id} value={id}>
            {id}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A lost server is said, and what is shown is said to be old. */
function Link() {
  const { isUp, sinceMs, why } = link.value;
  if (isUp) return null;
  return (
    <div class="note bad lost" role="alert">
      <Icon name="warning" />
      <div>
        <strong>The server cannot be reached.</strong> {why} What you see is from <Time ms={sinceMs} />.
        Trying again.
      </div>
    </div>
  );
}

function Screen() {
  const now = route.value;
  if (now.screen === "keys") return may("admin") ? <Keys /> : <NotYours scope="admin" />;
  if (now.screen === "account") return <Account />;
  if (now.screen === "cluster") return <Cluster />;
  if (!may("read")) return <NotYours scope="read" />;
  if (services.value === null) return <Loading />;
  if (now.screen === "lock") return <Lock key={toHash(now)} service={now.service} name={now.name} />;
  if (now.screen === "locks")
    return <Locks key={now.service} service={now.service} prefix={now.prefix} only={now.only} />;
  if (now.screen === "sessions") return <Sessions key={now.service} service={now.service} />;
  if (now.screen === "events") return <Events key={now.service} service={now.service} />;
  if (service.value === "") return <NothingYet />;
  return <Now key={service.value} service={service.value} />;
}

function NotYours({ scope }: { readonly scope: "read" | "admin" }) {
  return (
    <Empty icon="key" title="Your key may not see this">
      <p>
        It has no scope <code>{scope}</code>
        {mayAll("admin") ? "" : ". Ask whoever made it for another one"}.
      </p>
    </Empty>
  );
}
