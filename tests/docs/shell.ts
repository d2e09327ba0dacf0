/** The commands of a script, as words; what is in `$(…)` is a command of its own. Enough for the scripts of the docs. */
export function commandsOf(script: string): string[][] {
  const commands: string[][] = [];
  let words: string[] = [];
  let word: string | null = null;
  const endWord = () => {
    if (word !== null) words.push(word);
    word = null;
  };
  const endCommand = () => {
    endWord();
    if (words.length > 0) commands.push(words);
    words = [];
  };
  const text = script.replaceAll(/\\\n/g, " ").replaceAll(/<<(\w+)\n[\s\S]*?^\1$/gm, "");
  for (let at = 0; at < text.length; at++) {
    const letter = text[at]!;
    if (letter === "'") {
      const end = text.indexOf("'", at + 1);
      word = (word ?? "") + text.slice(at + 1, end);
      at = end;
    } else if (letter === '"') {
      const end = endOfQuote(text, at);
      const inside = text.slice(at + 1, end);
      for (const [, inner] of inside.matchAll(/\$\(([^()]*)\)/g)) commands.push(...commandsOf(inner!));
      word = (word ?? "") + inside.replaceAll(/\$\([^()]*\)/g, "VALUE").replaceAll('\\"', '"');
      at = end;
    } else if (text.startsWith("$(", at)) {
      const end = text.indexOf(")", at);
      commands.push(...commandsOf(text.slice(at + 2, end)));
      word = `${word ?? ""}VALUE`;
      at = end;
    } else if (letter === "#" && word === null) {
      at = text.indexOf("\n", at) - 1;
      if (at < 0) break;
    } else if (/[|;&\n]/.test(letter) && text[at - 1] !== ">") endCommand();
    else if (/\s/.test(letter)) endWord();
    else word = (word ?? "") + letter;
  }
  endCommand();
  return commands.map(plain).filter((command) => command.length > 0);
}

function endOfQuote(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at;
  }
  return text.length;
}

/** Without variables that are set before it, and without what is read from and written to. */
function plain(words: readonly string[]): string[] {
  const kept: string[] = [];
  let isBefore = true;
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (isBefore && /^\w+=/.test(word)) continue;
    isBefore = false;
    if (/^\d?[<>]{1,3}$/.test(word)) at++;
    else if (!/^\d?[<>]{1,3}\S/.test(word)) kept.push(word);
  }
  return kept;
}
