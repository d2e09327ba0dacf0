/** What all screens know: who is signed in, where one is, how times are shown. */
import { computed, effect, signal } from "@preact/signals";
import { Api, ApiError, type Scope, type Self, serverNowMs } from "./api.js";
import { type Route, routeIn, toHash } from "./route.js";

const KEY_SLOT = "lockdb.key";
const SERVICE_SLOT = "lockdb.service";
const THEME_SLOT = "lockdb.theme";
const TIMES_SLOT = "lockdb.times";

export const self = signal<Self | null>(null);
export const api = signal<Api | null>(null);
/** Why one is signed out, when it was not by one's own wish. */
export const signedOutBecause = signal("");
export const services = signal<readonly string[] | null>(null);

export const route = signal<Route>(routeIn(location.hash));
/** The service that was looked at last, for screens that are about none. */
const serviceLast = signal(sessionStorage.getItem(SERVICE_SLOT) ?? "");
export const service = computed(() => {
  const said = "service" in route.value ? route.value.service : "";
  if (said !== "") return said;
  const known = services.value ?? [];
  return known.includes(serviceLast.value) ? serviceLast.value : (known[0] ?? "");
});

/** `auto`: as the system says. */
export const theme = signal(localStorage.getItem(THEME_SLOT) ?? "auto");
/** `ago`: beside now. `utc`: the time of day. */
export const times = signal(localStorage.getItem(TIMES_SLOT) === "utc" ? "utc" : "ago");
/** Time of day at the server. Moves once a second. */
export const nowMs = signal(serverNowMs());

/** What is said to whoever cannot see what has changed. */
export const said = signal("");

export function may(scope: Scope): boolean {
  return self.value?.key.scopes.includes(scope) === true;
}

/** A key for some services is refused what is about the whole account. */
export function mayAll(scope: Scope): boolean {
  return may(scope) && self.value?.key.services === null;
}

export function go(to: Route): void {
  location.hash = toHash(to);
}

/** @throws ApiError */
export async function signIn(apiKey: string): Promise<void> {
  if (!/^[\x21-\x7e]+$/.test(apiKey)) {
    throw new ApiError(
      "UNAUTHORIZED",
      "This is no API key: it has spaces, or characters that no key has.",
      401,
    );
  }
  const tried = new Api(apiKey);
  self.value = await tried.self();
  sessionStorage.setItem(KEY_SLOT, apiKey);
  signedOutBecause.value = "";
  api.value = tried;
  await loadServices();
}

export function signOut(because = ""): void {
  sessionStorage.removeItem(KEY_SLOT);
  sessionStorage.removeItem(SERVICE_SLOT);
  signedOutBecause.value = because;
  [api.value, self.value, services.value] = [null, null, null];
}

/** Takes up what this tab has been signed in with. */
export async function takeUp(): Promise<void> {
  const kept = sessionStorage.getItem(KEY_SLOT);
  if (kept === null) return;
  try {
    await signIn(kept);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) signOut("This key was revoked, or has ended.");
    else throw error;
  }
}

export async function loadServices(): Promise<void> {
  if (api.value === null) return;
  if (!may("read")) {
    services.value = [];
    return;
  }
  const found = await api.value.services();
  const known = services.value;
  if (known === null || known.length !== found.length || found.some((id, at) => known[at] !== id)) {
    services.value = found;
  }
}

/** Whoever is refused for his key is signed out. @returns what to show */
export function problemOf(error: unknown): string {
  if (!(error instanceof ApiError)) return String(error);
  if (error.status === 401) signOut("This key was revoked, or has ended.");
  return error.message;
}

addEventListener("hashchange", () => {
  route.value = routeIn(location.hash);
});
setInterval(() => {
  if (!document.hidden) nowMs.value = serverNowMs();
}, 1_000);
effect(() => {
  if (service.value === "") return;
  serviceLast.value = service.value;
  sessionStorage.setItem(SERVICE_SLOT, service.value);
});
effect(() => {
  localStorage.setItem(THEME_SLOT, theme.value);
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
});
effect(() => localStorage.setItem(TIMES_SLOT, times.value));
