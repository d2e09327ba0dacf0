import type {
  Static,
  TArray,
  TBoolean,
  TInteger,
  TLiteral,
  TLiteralValue,
  TNumber,
  TObject,
  TOptional,
  TProperties,
  TRecord,
  TSchema,
  TString,
  TUnion,
  TUnknown,
  TUnsafe,
} from "typebox";

export type { Static, TObject, TProperties, TSchema };

type Options = Readonly<Record<string, unknown>>;

/** Fields that need not be there. JSON Schema says it of the object, and so of nothing that may be asked here. */
const OPTIONAL = new WeakSet<object>();

/**
 * JSON Schemas as typebox builds them, with its types: as much of it as is used here. All of it is four hundred files, which
 * would be half of the time that a start takes (decision 011). A test holds the one beside the other.
 */
export const Type = {
  Array: <T extends TSchema>(items: T, options?: Options) =>
    made<TArray<T>>({ type: "array", items }, options),
  Boolean: (options?: Options) => made<TBoolean>({ type: "boolean" }, options),
  Integer: (options?: Options) => made<TInteger>({ type: "integer" }, options),
  Literal: <T extends TLiteralValue>(value: T, options?: Options) =>
    made<TLiteral<T>>({ type: typeof value, const: value }, options),
  Number: (options?: Options) => made<TNumber>({ type: "number" }, options),
  Object: <T extends TProperties>(properties: T, options?: Options) => {
    const required = Object.keys(properties).filter((name) => !OPTIONAL.has(properties[name]!));
    return made<TObject<T>>(
      { type: "object", ...(required.length === 0 ? {} : { required }), properties },
      options,
    );
  },
  Optional: <T extends TSchema>(schema: T) => {
    const optional = made<TOptional<T>>(schema);
    OPTIONAL.add(optional);
    return optional;
  },
  Record: <T extends TSchema>(_key: TString, value: T, options?: Options) =>
    made<TRecord<"^.*$", T>>({ type: "object", patternProperties: { "^.*$": value } }, options),
  String: (options?: Options) => made<TString>({ type: "string" }, options),
  Union: <T extends TSchema[]>(anyOf: [...T], options?: Options) => made<TUnion<T>>({ anyOf }, options),
  Unknown: (options?: Options) => made<TUnknown>({}, options),
  Unsafe: <T>(schema: TSchema) => made<TUnsafe<T>>(schema),
};

/** A schema of its own, always: what one is named after is not what another is. */
function made<T extends TSchema>(schema: TSchema, options: Options = {}): T {
  return { ...schema, ...options } as unknown as T;
}
