import { Type as Typebox } from "typebox";
import { expect, test } from "vitest";
import { Type } from "../../src/http/type.js";

/** Each of them as typebox makes it, and as we do. */
function schemasOf(builder: typeof Typebox | typeof Type) {
  const build = builder as typeof Typebox;
  const name = build.String({ minLength: 1, pattern: "^a" });
  const inner = build.Object({ name, age: build.Optional(build.Integer()) }, { additionalProperties: false });
  return {
    name,
    inner,
    plain: [build.String(), build.Number(), build.Boolean({ default: false }), build.Integer({ minimum: 0 })],
    literals: [build.Literal(true), build.Literal("a", { description: "b" }), build.Literal(3)],
    array: build.Array(inner, { minItems: 1 }),
    empty: build.Object({}),
    noneRequired: build.Object({ one: build.Optional(name) }),
    nested: build.Object({ inner, more: build.Optional(inner), list: build.Optional(build.Array(name)) }),
    record: build.Record(build.String(), build.Union([build.String(), build.Number()]), { description: "c" }),
    union: build.Union([name, build.Array(name)], { description: "d" }),
    unknown: build.Object({ any: build.Unknown({ description: "e" }) }),
    unsafe: build.Unsafe({ type: ["string", "null"] }),
    optionalUnsafe: build.Object({ one: build.Optional(build.Unsafe({ type: "string", enum: ["a"] })) }),
  };
}

test("[I3p] schemas are those that typebox makes, letter by letter", () => {
  expect(JSON.stringify(schemasOf(Type), null, 1)).toBe(JSON.stringify(schemasOf(Typebox), null, 1));
});

test("[I3q] a schema that is optional in one place is not so in another", () => {
  const name = Type.String();
  expect(Type.Object({ one: Type.Optional(name), two: name }).required).toEqual(["two"]);
});
