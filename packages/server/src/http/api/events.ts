import { LIMITS, lockNameProblem } from "lockdb/protocol";
import { type Need, type ServiceKey, whenRefused } from "../../loop/index.js";
import { Refusal } from "../errors.js";
import type { Channel, EventHub } from "../event-hub.js";
import type { Gate } from "../gate.js";
import { PastEvents, POSITION, Position } from "../looking-schemas.js";
import type { Asked, Good, Operation } from "../operation.js";
import { EVENTS_A_PAGE, Prefix } from "../schemas.js";
import { Type } from "../type.js";

const TO_WATCH: Need = { scopes: ["read"] };

const EVENT = {
  type: "granted",
  names: ["invoice/42"],
  owner: "billing:7",
  token: 4711,
  at: "2026-11-26T09:00:00.000Z",
};
const ID = "pJ2n0XnGQkq8w6tq0Yw3Xg.17";

/** What happens, as a stream or as a page of the past. */
export function eventOperations(hub: EventHub, gate: Gate): readonly Operation[] {
  return [
    {
      id: "events",
      method: "GET",
      need: TO_WATCH,
      path: "/v1/services/{service}/events",
      tag: "Looking",
      summary: "Watch what happens",
      description: `A stream of server-sent events, in order, each after it is durable; it begins when you ask. Each event's \`id\` is a position: come back
with \`Last-Event-ID\`, and what happened meanwhile comes first. The last 10,000 events or ten minutes are kept. Beside the types of
\`ServiceEvent\` there are \`start\` (where you begin), \`gap\` (events were not kept), \`cut\` (you read too slowly: 256 KiB wait for you)
and \`ended\` (the server stops, or its store does not work). A comment comes every 15 s.

With \`since\` it is the kept past as JSON, at once: \`0\` for all of it. The past begins when somebody first looks, and goes on for ten
minutes after the last one has.`,
      query: Type.Object(
        {
          prefix: Type.Optional(Prefix),
          since: Type.Optional(
            Type.Union([Type.Literal("0"), Position], {
              description: "A position, or `0` for all that is kept.",
            }),
          ),
          limit: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: EVENTS_A_PAGE,
              default: EVENTS_A_PAGE,
              description: "At most so many events of the past.",
            }),
          ),
        },
        { additionalProperties: false },
      ),
      headers: {
        "Last-Event-ID": { schema: Position, description: "The `id` of the last event that was heard." },
      },
      answers: {
        200: {
          description: "The stream; or, with `since`, the past.",
          type: "text/event-stream",
          schema: PastEvents,
          example: { events: [{ id: ID, event: EVENT }], position: ID, missed: false, more: false },
        },
      },
      errors: [],
      handle: (asked) => (asked.query.since === undefined ? stream(hub, gate, asked) : past(asked)),
    },
  ];
}

function past({ loop, service, query }: Asked): Good {
  const { since, limit = EVENTS_A_PAGE } = query;
  const prefix = prefixIn(query.prefix);
  const kept = loop.past(
    service,
    { prefix, ...(since === "0" ? {} : { after: String(since) }) },
    Number(limit),
  );
  if (kept === null) throw new Refusal(loop.isHere(service) ? "LIMIT_EXCEEDED" : "UNAVAILABLE");
  const events = kept.events.map(({ position: id, event }) => ({ id, event }));
  const { position, missed, more } = kept;
  return { status: 200, body: { events, position, missed, more } };
}

function stream(hub: EventHub, gate: Gate, asked: Asked): undefined {
  const { service, query, caller, request, reply, loop } = asked;
  if (query.limit !== undefined) throw new Refusal("INVALID", "A limit is for the past: it needs since.");
  const after = request.headers["last-event-id"];
  if (after !== undefined && !LAST_EVENT_ID.test(String(after)))
    throw new Refusal("INVALID", "Last-Event-ID is the id of an event. Leave it out to begin now.");
  if (!loop.ready) throw new Refusal("UNAVAILABLE");
  if (hub.isFull) throw new Refusal("LIMIT_EXCEEDED");
  const prefix = prefixIn(query.prefix);
  const leave = gate.enter(caller);
  if (leave === null) throw new Refusal("LIMIT_EXCEEDED");
  const channel = channelOf(hub, service, prefix, leave);
  const { raw: response } = reply.hijack();
  // Without chunks: the end of the connection is the end of the stream.
  response.removeHeader("transfer-encoding");
  response.writeHead(200, {
    "x-accel-buffering": "no",
    "content-type": "text/event-stream; charset=utf-8",
    connection: "close",
  });
  response.flushHeaders();
  response.once("close", leave);
  hub.read(channel, after === undefined ? undefined : String(after), response, (over) =>
    whenRefused(caller, TO_WATCH, service.id, over),
  );
  return undefined;
}

/** @throws Refusal when it cannot be read now: then its reader has left again */
function channelOf(hub: EventHub, service: ServiceKey, prefix: string, leave: () => void): Channel {
  try {
    return hub.channel(service, prefix);
  } catch (error) {
    leave();
    throw error;
  }
}

const LAST_EVENT_ID = new RegExp(POSITION);

function prefixIn(value: string | number = ""): string {
  const prefix = String(value);
  const problem = prefix === "" || prefix.length > LIMITS.nameBytesMax ? null : lockNameProblem(prefix);
  if (problem !== null) throw new Refusal("INVALID", problem);
  return prefix;
}
