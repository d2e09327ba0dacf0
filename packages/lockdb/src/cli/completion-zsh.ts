import type { CommandNode, FlagNode, Wanted } from "./completion-tree.js";

/** For zsh 5: to be sourced, or put as `_lockdb` into a folder of `$fpath`. */
export function zshScript(tree: readonly CommandNode[]): string {
  return `#compdef lockdb
# zsh completion of lockdb, made by \`lockdb completion zsh\`.

${tree.map(functionOf).join("\n\n")}

if [ "$funcstack[1]" = _lockdb ]; then _lockdb "$@"; else compdef _lockdb lockdb; fi
`;
}

/** One function a command: it completes its flags and arguments, or leads on to the function of a subcommand. */
function functionOf({ path, commands, flags, args, runsOthers }: CommandNode): string {
  const specs = flags.flatMap(specsOf);
  if (commands.length > 0) specs.push("'1: :->command'", "'*:: :->rest'");
  else specs.push(...args.map((arg, at) => quoted(`${at + 1}:${escaped(arg.name)}:${actionOf(arg)}`)));
  const name = nameOf(path);
  const call = `_arguments -s ${specs.join(" \\\n    ")}`;
  if (commands.length === 0) return `${name}() {\n${runsOthers ? OTHERS : ""}  ${call}\n}`;
  const words = commands.map(({ name: word, doc }) => `      ${quoted(`${word}:${doc}`)}`);
  // A topic of \`help\` has no function of its own.
  const leads =
    path === "help" ? "" : `\n    rest) [ $+functions[${name}_$words[1]] = 1 ] && ${name}_$words[1] ;;`;
  return `${name}() {
  local context state state_descr line curcontext=$curcontext
  typeset -A opt_args
  ${call.replace("_arguments", "_arguments -C")}
  case $state in
    command)
      local -a commands=(
${words.join("\n")}
      )
      _describe command commands ;;${leads}
  esac
}`;
}

/** Behind `--` it is the command of somebody else's that is completed, as if it stood alone. */
const OTHERS = `  local end=\${words[(i)--]}
  if (( end < CURRENT )); then
    shift $end words
    (( CURRENT -= end ))
    _normal
    return
  fi
`;

function nameOf(path: string): string {
  return path === "" ? "_lockdb" : `_lockdb_${path.replaceAll(" ", "_")}`;
}

/** Two names of one flag exclude each other. */
function specsOf({ names, doc, value }: FlagNode): readonly string[] {
  const others = names.length > 1 ? `(${names.join(" ")})` : "";
  const message = value === null ? "" : `:${escaped(value.name)}:${actionOf(value)}`;
  return names.map((name) => {
    const takes = value === null ? "" : name.startsWith("--") ? "=" : "+";
    return quoted(`${others}${name}${takes}[${escaped(doc)}]${message}`);
  });
}

function actionOf(wanted: Wanted): string {
  switch (wanted.kind) {
    case "words":
      return `(${wanted.words.join(" ")})`;
    case "file":
      return "_files";
    case "folder":
      return "_files -/";
    case "text":
      return " ";
  }
}

function escaped(text: string): string {
  return text.replace(/[[\]:\\]/g, "\\$&");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
