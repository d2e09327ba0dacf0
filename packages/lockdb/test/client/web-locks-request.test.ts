import type { LockDB, LockManager } from "lockdb";
import { describe, expect, test, vi } from "vitest";
import { webNameOf } from "../../src/client/web-lock-request.js";
import { errorOf, realServer } from "./real.js";

const real = realServer();

type Anything = (...args: unknown[]) => Promise<unknown>;

/** `request` as code in JavaScript can call it. */
function requestOf(locker: LockDB): Anything {
  return locker.locks.request.bind(locker.locks) as Anything;
}

/** Names and modes of what is held in the service now. */
async function held(locker: LockDB): Promise<string[]> {
  return (await locker.locks.query()).held.map(({ name }) => name);
}

describe("arguments", () => {
  const fn = () => "called";

  const refused: [what: string, args: unknown[]][] = [
    ["no argument", []],
    ["no callback", ["a"]],
    ["options for a callback", ["a", {}]],
    ["no callback after options", ["a", {}, undefined]],
    ["a callback before an argument that is there", ["a", fn, undefined]],
    ["something for a callback", ["a", {}, { call: fn }]],
    ["null for a callback", ["a", null]],
    ["something for a callback, before the name is looked at", ["-a", {}, "fn"]],
    ["a symbol for a name", [Symbol("a"), fn]],
    ["a text for options", ["a", "shared", fn]],
    ["a number for options", ["a", 1, fn]],
    ["another mode", ["a", { mode: "both" }, fn]],
    ["another spelling", ["a", { mode: "Shared" }, fn]],
    ["null for a mode", ["a", { mode: null }, fn]],
    ["an empty mode", ["a", { mode: "" }, fn]],
    ["a symbol for a mode", ["a", { mode: Symbol("shared") }, fn]],
    ...["string", 12.34, false, null, {}, Symbol("s"), fn, globalThis, AbortSignal.prototype].map(
      (signal): [string, unknown[]] => [`${typeof signal} for a signal`, ["a", { signal }, fn]],
    ),
    ["what looks like a signal", ["a", { signal: { aborted: false, addEventListener: fn } }, fn]],
    ["a controller for a signal", ["a", { signal: new AbortController() }, fn]],
  ];

  test("[I1wba] what cannot be converted rejects with TypeError, and does not throw", async () => {
    const request = requestOf(real.client());
    const wrong: string[] = [];
    for (const [what, args] of refused) {
      const asked = request(...args);
      expect(asked).toBeInstanceOf(Promise);
      const error: unknown = await asked.then(
        () => null,
        (reason) => reason,
      );
      if (!(error instanceof TypeError)) wrong.push(`${what}: ${error}`);
    }
    expect(wrong).toEqual([]);
  });

  test("[I1wbb] `request` without its object rejects with TypeError, and so does `query`", async () => {
    const { request, query } = real.client().locks;
    const nobody = {} as LockManager;
    await expect((request as Anything).call(nobody, "a", fn)).rejects.toThrow(TypeError);
    await expect(query.call(nobody)).rejects.toThrow(TypeError);
    expect(request).toHaveLength(2);
  });

  const notSupported: [what: string, name: string, options: object][] = [
    ["a name that begins with -", "-a", {}],
    ["a name that is -", "-", { ifAvailable: true }],
    ["steal and ifAvailable", "a", { steal: true, ifAvailable: true }],
    ["to steal a shared lock", "a", { steal: true, mode: "shared" }],
    ["a signal with steal", "a", { steal: true, signal: new AbortController().signal }],
    ["a signal with ifAvailable", "a", { ifAvailable: true, signal: new AbortController().signal }],
    ["one that has aborted, too", "a", { ifAvailable: true, signal: AbortSignal.abort("it") }],
    ["a long name that begins with -", `-${"a".repeat(600)}`, { signal: AbortSignal.abort("it") }],
  ];

  test("[I1wbc] what the standard excludes is NotSupportedError, a DOMException", async () => {
    const locker = real.client();
    const callback = vi.fn();
    for (const [what, name, options] of notSupported) {
      const error = await errorOf(locker.locks.request(name, options, callback));
      expect(error, what).toBeInstanceOf(DOMException);
      expect(error.name, what).toBe("NotSupportedError");
    }
    expect(callback).not.toHaveBeenCalled();
  });

  test("[I1wbd] name, options and callback are converted in this order, the options by their names", async () => {
    const seen: string[] = [];
    const see = <T>(what: string, value: T): T => {
      seen.push(what);
      return value;
    };
    const name = { toString: () => see("name", real.name) };
    const options = {
      get steal() {
        return see("steal", 0);
      },
      get mode() {
        return see("mode", { toString: () => see("mode as text", "shared") });
      },
      get signal() {
        return see("signal", undefined);
      },
      get ifAvailable() {
        return see("ifAvailable", "");
      },
      get unknown() {
        return see("unknown", 1);
      },
    };
    const request = requestOf(real.client());
    const mode = await request(name, options, (lock: { mode: string }) => lock.mode);
    expect(mode).toBe("shared");
    expect(seen).toEqual(["name", "ifAvailable", "mode", "mode as text", "signal", "steal"]);
    const mistake = new Error("a getter's own");
    const throwing = {
      get ifAvailable() {
        throw mistake;
      },
      mode: "both",
    };
    await expect(request("a", throwing, "no function")).rejects.toBe(mistake);
    const nameless = {
      toString() {
        throw mistake;
      },
    };
    await expect(request(nameless, 1, 2)).rejects.toBe(mistake);
    const first = await errorOf(request("-a", { steal: true, mode: "both" }, fn));
    expect(first).toBeInstanceOf(TypeError);
  });

  test("[I1wbe] names and options are taken as anything that can be converted", async () => {
    const request = requestOf(real.client());
    const told = (lock: { name: string; mode: string }) => `${lock.name} ${lock.mode}`;
    expect(await request(7, told)).toBe("7 exclusive");
    expect(await request(undefined, null, told)).toBe("undefined exclusive");
    expect(await request(null, undefined, told)).toBe("null exclusive");
    expect(
      await request(
        "f",
        Object.assign(() => {}, { mode: "shared" }),
        told,
        "more",
      ),
    ).toBe("f shared");
    const inherited = Object.create({ mode: "shared", signal: undefined });
    expect(await request("i", inherited, told)).toBe("i shared");
    expect(await request("s", { mode: ["shared"], ifAvailable: {} }, told)).toBe("s shared");
  });
});

describe("names", () => {
  const names: [what: string, name: string, wire: string | null][] = [
    ["an empty one", "", "utf16:"],
    ["control characters", "a\n\0\u007f", "utf16:0061000a0000007f"],
    ["a lone surrogate", "x\ud800", "utf16:0078d800"],
    ["another one", "\udc00\ud800", "utf16:dc00d800"],
    ["one that looks like what travels", "utf16:0061", `utf16:${hexOf("utf16:0061")}`],
    ["one that begins so", "utf16:", `utf16:${hexOf("utf16:")}`],
    ["one that only nearly begins so", "utf16", null],
    ["capitals", "UTF16:0061", null],
    ["a well-formed pair", "\u{1f512}", null],
    ["not normalised", "e\u0301", null],
    ["normalised", "\u00e9", null],
    ["spaces", "  ", null],
    ["of the language", "__proto__", null],
    ["a - further on", "a-", null],
    ["C1 controls", "\u0080\u009f", null],
    ["512 bytes", "a".repeat(512), null],
    ["512 bytes in fewer letters", "\u{1f512}".repeat(128), null],
    ["126 units", "\ud800".repeat(126), `utf16:${"d800".repeat(126)}`],
  ];

  test("[I1wbf] any name is a lock of its own, and comes back unchanged", async () => {
    const { locks } = real.client();
    const all = names.map(([, name]) => name);
    const inside = async (at: number): Promise<void> => {
      if (at === all.length) {
        const { held } = await locks.query();
        expect(held.map(({ name }) => name)).toEqual(all);
        return;
      }
      await locks.request(all[at]!, { ifAvailable: true }, async (lock) => {
        expect(lock?.name, names[at]![0]).toBe(all[at]);
        await inside(at + 1);
      });
    };
    await inside(0);
  });

  test("[I1wbg] it travels as it is where the service takes it, else as utf16: and hexadecimal", async () => {
    const locker = real.client();
    for (const [what, name, wire] of names) {
      await locker.locks.request(name, async () => {
        expect(await locker.check(wire ?? name), what).toBe(true);
      });
    }
  });

  test("[I1wbh] past 512 bytes as it travels it is TypeError", async () => {
    const { locks } = real.client();
    const callback = vi.fn();
    for (const name of [
      "a".repeat(513),
      `${"\u{1f512}".repeat(128)}a`,
      "\n".repeat(127),
      `utf16:${"a".repeat(121)}`,
      "\ud800".repeat(1_000_000),
    ]) {
      await expect(locks.request(name, callback)).rejects.toThrow(TypeError);
      await expect(locks.request(name, callback)).rejects.toThrow(/at most 512 bytes/);
    }
    expect(callback).not.toHaveBeenCalled();
  });

  test("[I1wbi] of names that others gave, only what travels so is read so", async () => {
    const locker = real.client();
    const others = ["utf16:0061", "utf16:00", "utf16:D800", "utf16:xyz", "UTF16:d800", "utf16:d83ddd12"];
    const leases = [];
    for (const name of others) leases.push(await locker.acquire(name));
    expect(await held(locker)).toEqual(others);
    await locker.locks.request("", async () => {
      expect(await held(locker)).toEqual([...others, ""]);
    });
    for (const lease of leases) await lease.release();
    expect(webNameOf(`utf16:${"0061".repeat(126)}`, () => true)).toBe(`utf16:${"0061".repeat(126)}`);
  });
});

function hexOf(text: string): string {
  return Buffer.from(text, "utf16le").swap16().toString("hex");
}
