import { parseSync } from "vite";

/** @typedef {{ id: number, file: string, line: number, start: number, end: number, put: string, from: string, kind: string, mark: number }} Mutant */

/** What the script that is measured has at each block: `seen[at]`. */
export const SEEN = "lockdbScoreSeen";

const SWAPPED = new Map(
  Object.entries({
    "<": ["<=", ">="],
    "<=": ["<", ">"],
    ">": [">=", "<="],
    ">=": [">", "<"],
    "===": ["!=="],
    "!==": ["==="],
    "+": ["-"],
    "-": ["+"],
    "*": ["/"],
    "/": ["*"],
    "%": ["*"],
    ">>": ["<<"],
    "&&": ["||"],
    "||": ["&&"],
    "??": ["&&"],
    "+=": ["-="],
    "-=": ["+="],
    "??=": ["="],
    "++": ["--"],
    "--": ["++"],
  }),
);

/** Of two that are each other's opposite in what they choose. */
const CALLS = new Map(
  Object.entries({ min: "max", max: "min", some: "every", every: "some", floor: "ceil", ceil: "floor" }),
);

const KINDS = new Map(
  Object.entries({
    LogicalExpression: "and, or",
    UpdateExpression: "arithmetic",
    AssignmentExpression: "arithmetic",
  }),
);

/**
 * Every mutant of the files, in order; and the script with a mark in each of their blocks, to see which tests come by. Mark 0 is what runs when modules
 * are loaded.
 * @param {import("./bundle.js").Bundle} bundle
 * @param {(file: string) => boolean} isMutated
 * @returns {{ mutants: readonly Mutant[], marked: string, markCount: number }}
 */
export function mutantsIn({ code, placeOf }, isMutated) {
  const program = parseSync("bundle.cjs", code).program;
  /** @type {Mutant[]} */
  const mutants = [];
  /** @type {{ at: number, text: string }[]} */
  const insertions = [];
  let mark = 0;
  let markCount = 1;
  /** @param {any} node @param {string} put @param {string} kind */
  const add = (node, put, kind) => {
    const { start, end } = node;
    const from = code.slice(start, end);
    const { file, line } = placeOf(start);
    if (from !== put && isMutated(file))
      mutants.push({ id: mutants.length, file, line, start, end, put, from, kind, mark });
  };
  const set = () => `${SEEN}[${mark}] = 1`;
  /** @param {any} node @param {any} parent @param {string} key */
  const enter = (node, parent, key) => {
    const before = mark;
    const { value } = node;
    const first =
      node.type === "BlockStatement" ? node : node.type === "SwitchCase" ? node.consequent[0] : undefined;
    if (first !== undefined) {
      mark = markCount++;
      insertions.push({ at: first === node ? node.start + 1 : first.start, text: `${set()};` });
    } else if (node.type === "PropertyDefinition" && !node.static && value !== null) {
      mark = markCount++;
      insertions.push({ at: value.start, text: `(${set()}, ` }, { at: value.end, text: ")" });
    }
    const isOpen = visit(node, parent, key, code, add) !== false;
    return { isOpen, leave: () => (mark = before) };
  };
  for (const statement of program.body) {
    // What is in no file is the bundler's own.
    if (!isMutated(placeOf(statement.start).file) && !isMutated(placeOf(statement.end - 1).file)) continue;
    walk(statement, null, "", enter);
  }
  insertions.sort((a, b) => a.at - b.at);
  let marked = "";
  let end = 0;
  for (const { at, text } of insertions) {
    marked += code.slice(end, at) + text;
    end = at;
  }
  return { mutants, marked: marked + code.slice(end), markCount };
}

/** @param {any} node @param {any} parent @param {string} key @param {(node: any, parent: any, key: string) => { isOpen: boolean, leave: () => void }} enter */
function walk(node, parent, key, enter) {
  const { isOpen, leave } = enter(node, parent, key);
  for (const [name, child] of isOpen ? Object.entries(node) : []) {
    if (Array.isArray(child)) {
      for (const each of child) if (typeof each?.type === "string") walk(each, node, name, enter);
    } else if (
      child !== null &&
      typeof child === "object" &&
      typeof (/** @type {any} */ (child).type) === "string"
    ) {
      walk(child, node, name, enter);
    }
  }
  leave();
}

/**
 * @param {any} node
 * @param {any} parent
 * @param {string} key
 * @param {string} code
 * @param {(node: any, put: string, kind: string) => void} add
 * @returns {boolean | void} false: nothing inside of it is mutated
 */
function visit(node, parent, key, code, add) {
  const text = (/** @type {any} */ each) => code.slice(each.start, each.end);
  /** Tests stand in brackets, whatever they were made of. @param {any} test */
  const decide = (test, both = true) => {
    if (test === null || test.type === "Literal") return;
    if (both) add(test, "true", "condition");
    add(test, "false", "condition");
  };
  switch (node.type) {
    case "BinaryExpression":
    case "LogicalExpression": {
      const left = text(node.left);
      const between = code.slice(node.left.end, node.right.start);
      if (node.operator === "+" && (isText(node.left) || isText(node.right))) return;
      for (const other of SWAPPED.get(node.operator) ?? []) {
        const kind =
          KINDS.get(node.type) ??
          (/[<>=!]/.test(node.operator) && node.operator !== ">>" ? "comparison" : "arithmetic");
        const isMixed = kind === "and, or";
        const put = `${left}${between.replace(node.operator, other)}${text(node.right)}`;
        // `a && b || c`: what was inside stays together.
        add(
          node,
          isMixed ? `((${left}) ${other} (${text(node.right)}))` : put,
          node.operator === "??" ? "??, ?." : kind,
        );
      }
      return;
    }
    case "UpdateExpression":
    case "AssignmentExpression":
      for (const other of SWAPPED.get(node.operator) ?? [])
        add(
          node,
          text(node).replace(node.operator, other),
          node.operator === "??=" ? "??, ?." : "arithmetic",
        );
      return;
    case "UnaryExpression":
      if (node.operator === "!" || node.operator === "-") add(node, `(${text(node.argument)})`, "negation");
      return;
    case "ConditionalExpression":
    case "IfStatement":
      return decide(node.test);
    case "WhileStatement":
    case "DoWhileStatement":
    case "ForStatement":
      // Always true would be no end, which is too easily seen.
      return decide(node.test, false);
    case "Literal":
      if (typeof node.value === "boolean") add(node, `${!node.value}`, "constant");
      // `void 0` is how the bundler writes undefined.
      if (typeof node.value === "number" && key !== "key" && parent.operator !== "void") {
        add(node, `(${node.raw} + 1)`, "constant");
        add(node, `(${node.raw} - 1)`, "constant");
      }
      return;
    case "CallExpression":
      if (node.optional) add(node, text(node).replace("?.", ""), "??, ?.");
      if (node.callee.type === "MemberExpression" && !node.callee.computed) {
        const { property } = node.callee;
        const other = CALLS.get(property.name);
        if (other !== undefined) add(property, other, "call");
      }
      return;
    case "MemberExpression":
      if (node.optional) {
        const rest = code.slice(node.object.end, node.end);
        add(
          node,
          `${text(node.object)}${rest.startsWith("?.[") ? rest.slice(2) : rest.replace("?.", ".")}`,
          "??, ?.",
        );
      }
      return;
    case "ExpressionStatement":
      // What a constructor has to call, and what only sets up a class, cannot be left out by mistake.
      if (node.directive !== undefined || node.expression.callee?.type === "Super") return;
      add(node, ";", "left out");
      return;
    case "ReturnStatement": {
      // The last of a function would be no mistake that anybody makes, unless it ends early.
      const isLast = parent.type === "BlockStatement" && parent.body.at(-1) === node;
      if (!(isLast && parent.isBody)) add(node, ";", "early end");
      return;
    }
    case "ContinueStatement":
    case "BreakStatement":
    case "ThrowStatement":
      add(node, ";", "early end");
      return node.type !== "ThrowStatement";
    case "FunctionExpression":
    case "FunctionDeclaration":
    case "ArrowFunctionExpression":
      if (node.body?.type === "BlockStatement") node.body.isBody = true;
      return;
    case "NewExpression":
      // Texts of errors.
      return !/Error$/.test(node.callee.name ?? "");
  }
}

/** @param {any} node */
function isText(node) {
  return node.type === "TemplateLiteral" || (node.type === "Literal" && typeof node.value === "string");
}
