import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { httpFence, memoryFences, postgresFence, redisFence } from "lockdb/guards";
import { describe, expect, test } from "vitest";

const [OLD, NEW] = [33, 34];
const fence = httpFence("billing", "account/7");

describe("the fence at an HTTP server", () => {
  test("[F5j] a request of an earlier holder that arrives after one of a later holder is refused, with its status", async () => {
    const fences = memoryFences();
    const server = createServer((request, response) => {
      const guarded = httpFence("billing", request.url!.slice(1)).enter(request.headers, fences);
      guarded.then(
        (token) => response.end(String(token)),
        (error) => response.writeHead(error.status).end(error.code),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const put = async (path: string, headers: Record<string, string>) => {
      const answer = await fetch(`http://127.0.0.1:${port}/${path}`, { method: "PUT", headers });
      return `${answer.status} ${await answer.text()}`;
    };
    expect(await put("account/7", fence.headers(OLD))).toBe("200 33");
    expect(await put("account/7", fence.headers({ token: OLD }))).toBe("200 33");
    expect(await put("account/7", fence.headers(NEW))).toBe("200 34");
    expect(await put("account/7", fence.headers(OLD))).toBe("409 STALE_TOKEN");
    // Another lock's token is none of this one's, high as it may be.
    expect(await put("account/7", httpFence("billing", "account/8").headers(99))).toBe("428 TOKEN_MISSING");
    expect(await put("account/7", httpFence("stock", "account/7").headers(99))).toBe("428 TOKEN_MISSING");
    expect(await put("account/8", httpFence("billing", "account/8").headers(OLD))).toBe("200 33");
    expect(await put("account/7", {})).toBe("428 TOKEN_MISSING");
    expect(await put("account/7", { "lockdb-token": "34" })).toBe("400 TOKEN_MALFORMED");
    server.closeAllConnections();
    server.close();
  });

  test("[F5k] any lock name goes through the header; a request inside several locks sends a token of each", () => {
    for (const name of ["a, b; lock=c", "größe/🫖", "100%", "'quoted\""]) {
      const one = httpFence("billing", name);
      expect(one.token(new Headers(one.headers(OLD)))).toBe(OLD);
    }
    const headers = new Headers(fence.headers(OLD));
    headers.append("lockdb-token", httpFence("billing", "account/9").headers(NEW)["lockdb-token"]!);
    expect(fence.token(headers)).toBe(OLD);
    expect(httpFence("billing", "account/9").token({ "lockdb-token": [headers.get("lockdb-token")!] })).toBe(
      NEW,
    );
  });

  test.each([
    "",
    "34",
    "0; service=billing; lock=account%2F7",
    "-1; service=billing; lock=account%2F7",
    "1e9; service=billing; lock=account%2F7",
    "9007199254740993; service=billing; lock=account%2F7",
    "34; service=billing; lock=%E0%A4%A",
    "34; service=billing; lock=account%2F7, ",
    "33; service=billing; lock=account%2F7, 34; service=billing; lock=account%2F7",
  ])("[F5l] a header that is not what the client writes is refused as such: %s", (value) => {
    const read = () => fence.token({ "lockdb-token": value });
    expect(read).toThrow(expect.objectContaining({ code: "TOKEN_MALFORMED", status: 400 }));
  });

  test("[F5m] the store may be anywhere; one that gives no number lets nobody in; a memory that is full forgets none", async () => {
    const raised: unknown[] = [];
    const store = { raise: async (...given: unknown[]) => raised.push(given) && NEW };
    expect(await fence.enter(fence.headers(NEW), store)).toBe(NEW);
    await expect(fence.enter(fence.headers(OLD), store)).rejects.toMatchObject({ token: OLD, seen: NEW });
    expect(raised).toEqual([
      ["billing/account/7", NEW],
      ["billing/account/7", OLD],
    ]);
    const silent = { raise: () => undefined as never };
    await expect(fence.enter(fence.headers(NEW), silent)).rejects.toMatchObject({ name: "StaleTokenError" });
    const small = memoryFences(1);
    expect([small.raise("a", OLD), small.raise("a", NEW), small.raise("a", OLD)]).toEqual([OLD, NEW, NEW]);
    expect(() => small.raise("b", OLD)).toThrow(RangeError);
  });
});

describe("every fence", () => {
  test.each([undefined, null, 0, -1, 1.5, Number.NaN, 2 ** 53, "34", {}, { token: "34" }])(
    "[F5n] takes no token that is none, and sends nothing then: %s",
    async (token) => {
      const none = token as never;
      const sent: unknown[] = [];
      const send = async (...words: unknown[]) => sent.push(words);
      await expect(postgresFence("a", "b").enter({ query: send }, none)).rejects.toThrow(TypeError);
      await expect(redisFence("a", "b").enter(send, none)).rejects.toThrow(TypeError);
      expect(() => httpFence("a", "b").headers(none)).toThrow(TypeError);
      expect(sent).toEqual([]);
    },
  );

  test("[F5o] is for a service and a lock that can be", () => {
    for (const fenceOf of [postgresFence, redisFence, httpFence]) {
      expect(() => fenceOf("no service", "a")).toThrow(TypeError);
      expect(() => fenceOf("a", "")).toThrow(TypeError);
    }
    for (const table of ["", "a b", "a;b", "A", "a.b.c"])
      expect(() => postgresFence("a", "b", { table })).toThrow(TypeError);
  });
});
