import type { CommandNode, Wanted } from "./completion-tree.js";

/** For bash 3.2 and newer, with or without the package bash-completion. */
export function bashScript(tree: readonly CommandNode[]): string {
  return `# bash completion of lockdb, made by \`lockdb completion bash\`.
${LOGIC}
# The subcommands of a command.
_lockdb_commands() {
  case $1 in
${cases(tree, ({ commands }) => commands.map(({ name }) => name).join(" "))}
    *) REPLY= ;;
  esac
}

# The flags of a command.
_lockdb_flags() {
  case $1 in
${cases(tree, ({ flags }) => flags.flatMap(({ names }) => names).join(" "))}
    *) REPLY= ;;
  esac
}

# What a flag of a command takes: nothing, text, file, folder or words.
_lockdb_value() {
  case "$1 $2" in
${valueCases(tree)}
    *) REPLY= ;;
  esac
}

# What a command takes that is no flag.
_lockdb_args() {
  case $1 in
${cases(tree, ({ args }) => (args[0] === undefined ? "" : wantedText(args[0])))}
    *) REPLY=text ;;
  esac
}

complete -F _lockdb lockdb
`;
}

/** `REPLY` is how functions answer: it costs no process. */
const LOGIC = `
_lockdb() {
  local REPLY word i option= path= cur=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # bash takes --flag=value for three words.
    [[ $word == = ]] && continue
    if [[ -n $option ]]; then
      option=
    elif [[ $word == -- ]]; then
      _lockdb_other $((i + 1))
      return
    elif [[ $word == -* ]]; then
      _lockdb_value "$path" "$word"
      [[ -n $REPLY ]] && option=$word
    else
      _lockdb_commands "$path"
      [[ " $REPLY " == *" $word "* ]] && path=\${path:+$path }$word
    fi
  done
  [[ $cur == = ]] && cur=
  if [[ -n $option ]]; then
    _lockdb_value "$path" "$option"
  elif [[ $cur == -* ]]; then
    _lockdb_flags "$path"
    REPLY="words $REPLY"
  else
    _lockdb_commands "$path"
    if [[ -n $REPLY ]]; then REPLY="words $REPLY"; else _lockdb_args "$path"; fi
  fi
  case $REPLY in
    "words "*) _lockdb_reply -W "\${REPLY#words }" ;;
    file) compopt -o filenames 2>/dev/null; _lockdb_reply -f ;;
    folder) compopt -o filenames 2>/dev/null; _lockdb_reply -d ;;
  esac
}

# Whole lines: a file may have spaces in its name.
_lockdb_reply() {
  local line
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$@" -- "$cur")
}

# A command of somebody else's, which begins at this word.
_lockdb_other() {
  if declare -F _command_offset >/dev/null; then
    _command_offset "$1"
  elif ((COMP_CWORD == $1)); then
    _lockdb_reply -c
  else
    compopt -o filenames 2>/dev/null
    _lockdb_reply -f
  fi
}
`;

function cases(tree: readonly CommandNode[], textOf: (node: CommandNode) => string): string {
  return tree
    .map((node) => [node.path, textOf(node)] as const)
    .filter(([, text]) => text !== "")
    .map(([path, text]) => `    ${quoted(path)}) REPLY=${quoted(text)} ;;`)
    .join("\n");
}

/** Flags that take the same stand in one line. */
function valueCases(tree: readonly CommandNode[]): string {
  return tree
    .flatMap(({ path, flags }) => {
      const patterns = new Map<string, string[]>();
      for (const { names, value } of flags) {
        if (value === null) continue;
        const known = patterns.get(wantedText(value)) ?? [];
        patterns.set(wantedText(value), [...known, ...names.map((name) => quoted(`${path} ${name}`))]);
      }
      return [...patterns].map(([text, each]) => `    ${each.join(" | ")}) REPLY=${quoted(text)} ;;`);
    })
    .join("\n");
}

function wantedText(wanted: Wanted): string {
  return wanted.kind === "words" ? `words ${wanted.words.join(" ")}` : wanted.kind;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
