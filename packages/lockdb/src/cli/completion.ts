import { Argument, type Command } from "commander";
import { print } from "./args.js";
import { bashScript } from "./completion-bash.js";
import { fishScript } from "./completion-fish.js";
import { completionTree } from "./completion-tree.js";
import { zshScript } from "./completion-zsh.js";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** `completion`: what a shell has to know to complete our commands and flags, made of the commands themselves. */
export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .usage("<shell>")
    .summary("print what a shell needs to complete commands")
    .description("Prints a script with which a shell completes the commands, flags and values of lockdb.")
    .addArgument(new Argument("<shell>", "bash, zsh or fish").choices(Object.keys(SCRIPTS)))
    .addHelpText("after", COMPLETION_HELP)
    .action((shell: keyof typeof SCRIPTS) => print(SCRIPTS[shell](completionTree(program)).trimEnd()));
}

const COMPLETION_HELP = `
For good, in a folder where the shell looks:
  bash  lockdb completion bash > ~/.local/share/bash-completion/completions/lockdb
  zsh   lockdb completion zsh > "\${fpath[1]}/_lockdb"
  fish  lockdb completion fish > ~/.config/fish/completions/lockdb.fish
Do so anew after an update of lockdb. For this shell alone, or without the package
bash-completion:
  source <(lockdb completion bash)

The flags of \`lockdb serve\` are known where @lockdb/server is installed.`;
