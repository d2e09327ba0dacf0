import type { CommandNode, Wanted } from "./completion-tree.js";

/** For fish 3. */
export function fishScript(tree: readonly CommandNode[]): string {
  const paths = tree.map(({ path }) => quoted(path)).join(" ");
  const valued = tree.flatMap(({ flags }) => flags.filter(({ value }) => value !== null));
  const names = [...new Set(valued.flatMap((flag) => flag.names))].join(" ");
  return `# fish completion of lockdb, made by \`lockdb completion fish\`.

# True at a command, such as "keys ls", whose name is complete.
function __lockdb_at
    set -l path
    set -l is_value 0
    for word in (commandline -opc)[2..-1]
        if test $is_value = 1
            set is_value 0
        else if test "$word" = --
            set path other
            break
        else if contains -- "$word" ${names}
            set is_value 1
        else if not string match -q -- '-*' "$word"
            set -l longer (string trim -- "$path $word")
            contains -- "$longer" ${paths}
            and set path "$longer"
        end
    end
    test "$path" = "$argv[1]"
end

complete -c lockdb -e
complete -c lockdb -f
complete -c lockdb -n '__lockdb_at other' -F -a '(__fish_complete_command)'
${tree.flatMap(linesOf).join("\n")}
`;
}

function linesOf({ path, commands, flags, args }: CommandNode): readonly string[] {
  const at = `complete -c lockdb -n ${quoted(`__lockdb_at ${doubleQuoted(path)}`)}`;
  return [
    ...commands.map(({ name, doc }) => `${at} -a ${name} -d ${quoted(doc)}`),
    ...flags.map(({ names, doc, value }) => {
      const flag = names.map((name) =>
        name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
      );
      return `${at} ${flag.join(" ")}${value === null ? "" : ` ${takes(value)}`} -d ${quoted(doc)}`;
    }),
    ...args.filter(({ kind }) => kind !== "text").map((arg) => `${at} ${offers(arg)}`),
  ];
}

/** Of a flag: \`-x\` is a value and no file. */
function takes(wanted: Wanted): string {
  return wanted.kind === "file" ? "-r -F" : `-x ${offers(wanted)}`.trimEnd();
}

function offers(wanted: Wanted): string {
  switch (wanted.kind) {
    case "words":
      return `-a ${quoted(wanted.words.join(" "))}`;
    case "file":
      return "-F";
    case "folder":
      return "-a '(__fish_complete_directories)'";
    case "text":
      return "";
  }
}

function doubleQuoted(text: string): string {
  return `"${text}"`;
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
