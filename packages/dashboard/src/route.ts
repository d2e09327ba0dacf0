/** Where one is. It stands behind the `#`, so that names of locks are in no log of a server or proxy. */
export type Route =
  | { readonly screen: "start" | "signup" | "keys" | "account" | "cluster" }
  | { readonly screen: "now" | "sessions" | "events"; readonly service: string }
  | { readonly screen: "locks"; readonly service: string; readonly prefix: string; readonly only: string }
  | { readonly screen: "lock"; readonly service: string; readonly name: string };

const PLAIN = new Set(["signup", "keys", "account", "cluster"]);

export function routeIn(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map(decoded);
  if (parts.length === 1 && PLAIN.has(parts[0]!)) return { screen: parts[0] as "keys" };
  if (parts[0] !== "s" || parts.length < 2) return { screen: "start" };
  const [, service = "", screen = "now", name] = parts;
  if (screen === "locks" && name !== undefined) return { screen: "lock", service, name };
  if (screen === "locks") {
    const asked = new URLSearchParams(query);
    return { screen, service, prefix: asked.get("prefix") ?? "", only: asked.get("only") ?? "" };
  }
  if (screen === "sessions" || screen === "events") return { screen, service };
  return { screen: "now", service };
}

export function toHash(to: Route): string {
  if (to.screen === "start") return "#/";
  if (!("service" in to)) return `#/${to.screen}`;
  const base = `#/s/${encodeURIComponent(to.service)}`;
  if (to.screen === "lock") return `${base}/locks/${encodeURIComponent(to.name)}`;
  if (to.screen !== "locks") return `${base}/${to.screen}`;
  const asked = new URLSearchParams();
  if (to.prefix !== "") asked.set("prefix", to.prefix);
  if (to.only !== "") asked.set("only", to.only);
  const query = asked.toString();
  return `${base}/locks${query === "" ? "" : `?${query}`}`;
}

/** Half an escape is shown as it stands. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
