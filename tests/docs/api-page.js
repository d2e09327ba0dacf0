// The reference of what the packages export, made of the declarations of the build and the texts in them.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Of these, what else is exported is for the command line. */
const SERVER_NAMES = ["serve", "Server", "ServeOptions", "StoreInUseError"];

/** What is exported for people, by the name that it is imported from. */
export function entries() {
  const { exports } = JSON.parse(readFileSync(join(ROOT, "packages/lockdb/package.json"), "utf8"));
  const ofClient = Object.entries(exports).flatMap(([path, where]) => {
    const types = where.import?.types ?? where.types;
    if (types === undefined || path === "./protocol") return [];
    return [{ name: path.replace(".", "lockdb"), names: exported(join(ROOT, "packages/lockdb", types)) }];
  });
  const ofServer = exported(join(ROOT, "packages/server/dist/index.d.ts"));
  const names = ofServer.filter(({ name }) => SERVER_NAMES.includes(name));
  return [...ofClient, { name: "@lockdb/server", names }];
}

/** The page, as `docs/api.md` has it. */
export function apiPage() {
  return `# API reference

Made of the types: \`npm run build && node tests/page.js api > docs/api.md\`. Editors show the same texts. Guides are in [README.md](README.md);
the HTTP API is told by the server itself, at \`/docs\`, and in [http.md](http.md).

Durations are milliseconds, or texts such as \`"30s"\`. Names that end in \`Ms\` are milliseconds. What rejects or throws does so with a [LockDBError](#lockdberror), or with what
the caller's own \`signal\` or function gave. Everything else that the packages export (\`lockdb/protocol\`, and what \`@lockdb/server\` has for the command line) changes without notice.

${entries()
  .map(({ name, names }) => `## \`${name}\`\n\n${names.map(section).join("\n")}`)
  .join("\n")}`;
}

function section({ name, kind, doc, signature, members, parent }) {
  const parts = [`### ${name}`, ...docParts(doc)];
  if (parent !== "") parts.push(`It has what \`${parent}\` has, too.`);
  if (kind !== "interface" && kind !== "class") parts.push(fenced(signature));
  const fields = members.filter((member) => !member.isCallable);
  if (fields.length > 0) parts.push(tableOf(fields));
  for (const member of members.filter((each) => each.isCallable)) {
    const title = member.name === "constructor" ? `new ${name}` : `${decapitalised(name)}.${member.name}`;
    parts.push(`#### ${title}`, fenced(member.signatures.join("\n")), ...docParts(member.doc));
  }
  return `${parts.join("\n\n")}\n`;
}

function docParts({ text, params, returns, throws, example }) {
  const rows = [
    ...params.map(([name, what]) => `- \`${name}\`: ${what}`),
    ...(returns === "" ? [] : [`- Returns ${returns}.`]),
    ...(throws === "" ? [] : [`- Throws, or rejects with: ${throws}.`]),
  ];
  return [
    ...(text === "" ? [] : [linked(text)]),
    ...(rows.length === 0 ? [] : [linked(rows.join("\n"))]),
    ...(example === "" ? [] : [`\`\`\`ts\n${example}\n\`\`\``]),
  ];
}

/** Names of pages become links to them. */
function linked(text) {
  return text.replaceAll(/\bdocs\/([\w-]+\.md)/g, "[$1]($1)");
}

function fenced(code) {
  return `\`\`\`\n${code}\n\`\`\``;
}

function tableOf(fields) {
  const rows = fields.map(
    ({ name, type, isOptional, doc }) =>
      `| \`${name}${isOptional ? "?" : ""}\` | \`${cell(type)}\` | ${cell(linked(doc.text))} |`,
  );
  return ["| | | |", "| --- | --- | --- |", ...rows].join("\n");
}

function cell(text) {
  return text.replaceAll(/\s+/g, " ").replaceAll("|", "\\|");
}

function decapitalised(name) {
  return name === "LockDB" ? "locker" : name.replace(/^[A-Z]/, (letter) => letter.toLowerCase());
}

/** What a module exports, in the order of its lines; classes first. */
export function exported(file) {
  const found = new Map();
  collect(file, null, found);
  const rank = { class: 0, function: 1, const: 2, interface: 3, type: 4 };
  return [...found.values()].sort((a, b) => rankOf(a, rank) - rankOf(b, rank));
}

function rankOf({ name, kind }, rank) {
  return name === "LockDB" ? -1 : rank[kind];
}

/** @param wanted names, or null for all */
function collect(file, wanted, found) {
  const text = readFileSync(file, "utf8");
  const module = (path) => {
    const target = join(dirname(file), path.replace(/\.js$/, ".d.ts"));
    return existsSync(target) ? target : null;
  };
  const imports = new Map();
  for (const [, names, path] of text.matchAll(/^import (?:type )?\{([^}]*)\} from "([^"]+)";/gm))
    for (const name of namesIn(names)) imports.set(name, path);
  for (const declaration of declarationsIn(text))
    if (declaration.isExported && (wanted === null || wanted.has(declaration.name)))
      if (!found.has(declaration.name)) found.set(declaration.name, declaration);
  for (const [, path] of text.matchAll(/^export (?:type )?\* from "([^"]+)";/gm)) {
    const target = module(path);
    if (target !== null) collect(target, wanted, found);
  }
  for (const [, names, path] of text.matchAll(/^export (?:type )?\{([^}]*)\}(?: from "([^"]+)")?;/gm)) {
    for (const name of namesIn(names)) {
      if (wanted !== null && !wanted.has(name)) continue;
      const target = module(path ?? imports.get(name) ?? "");
      if (target !== null) collect(target, new Set([name]), found);
    }
  }
}

/** Those of a list of exports; of one that is renamed the old name, once. */
function namesIn(list) {
  const names = list.split(",").flatMap(
    (part) =>
      part
        .trim()
        .replace(/^type /, "")
        .split(" as ")[0] || [],
  );
  return [...new Set(names)];
}

/** Top-level declarations of a file as the compiler writes them. */
export function declarationsIn(text) {
  const found = [];
  for (const { doc, code } of pieces(text)) {
    const match = /^(export )?(?:declare )?(class|interface|type|function|const) (\w+)/.exec(code);
    if (match === null) continue;
    const [, isExported, kind, name] = match;
    const isObject = kind === "interface" || kind === "class";
    const inside = isObject ? code.slice(code.indexOf("{\n") + 2, code.lastIndexOf("}")) : "";
    found.push({
      ...{ name, kind, doc: docOf(doc), isExported: isExported !== undefined },
      parent: isObject ? (/ extends ([^{]*) \{/.exec(code)?.[1] ?? "") : "",
      signature: code.replace(/^export (declare )?/, ""),
      members: isObject ? membersIn(inside) : [],
    });
  }
  return found;
}

function membersIn(text) {
  const members = [];
  for (const { doc, code } of pieces(text)) {
    const match = /^(?:(?:readonly|static|get|override) )*(\[?[\w.]+\]?)(\??)([(<:])/.exec(code);
    if (match === null || /^(#|static |private )/.test(code)) continue;
    const [, name, optional, next] = match;
    const isCallable = next !== ":" && !code.startsWith("get ");
    const last = members.at(-1);
    if (isCallable && last?.name === name) last.signatures.push(code);
    else {
      const type = isCallable ? "" : code.replace(/^[^:]*: ?/, "").replace(/;$/, "");
      members.push({
        name,
        isCallable,
        isOptional: optional === "?",
        type,
        doc: docOf(doc),
        signatures: [code],
      });
    }
  }
  return members;
}

/** Declarations one after the other, each with the comment before it. */
function pieces(text) {
  const found = [];
  let [doc, start, depth] = ["", -1, 0];
  for (let at = 0; at < text.length; at++) {
    if (start < 0 && /\s/.test(text[at])) continue;
    if (text.startsWith("/*", at)) {
      const end = text.indexOf("*/", at) + 2;
      if (start < 0) doc = text.slice(at, end);
      at = end - 1;
      continue;
    }
    if (text.startsWith("//", at) && start < 0) {
      at = text.indexOf("\n", at);
      if (at < 0) break;
      continue;
    }
    if (start < 0) start = at;
    if ("\"'`".includes(text[at])) at = text.indexOf(text[at], at + 1);
    else if ("({[".includes(text[at])) depth++;
    else if (")}]".includes(text[at])) depth--;
    const isBlock =
      text[at] === "}" && /^(export )?(declare )?(class|interface) /.test(text.slice(start, start + 40));
    if (depth === 0 && (text[at] === ";" || isBlock)) {
      found.push({ doc, code: text.slice(start, at + 1) });
      [doc, start] = ["", -1];
    }
  }
  return found;
}

/** A comment, by its tags. */
function docOf(comment) {
  const lines = comment
    .replace(/^\/\*\*?/, "")
    .replace(/\*\/$/, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, "").trimEnd());
  const doc = { text: "", params: [], returns: "", throws: "", example: "" };
  const [text, ...tags] = lines.join("\n").trim().split(/\n?^@/m);
  doc.text = text.trim();
  for (const tag of tags) {
    const [, name, rest] = /^(\w+)\s*([\s\S]*)$/.exec(tag);
    if (name === "example") doc.example = rest.trim();
    else if (name === "param") {
      const [, param, what] = /^(\w+) ([\s\S]*)$/.exec(oneLine(rest));
      doc.params.push([param, what]);
    } else doc[name] = oneLine(rest);
  }
  return doc;
}

function oneLine(text) {
  return text.replaceAll(/\s+/g, " ").trim();
}
