/** Where a secret was found, and what it is. */
export interface Secret {
  readonly text: string;
  /** The variable that gave it: the secret's own, or that of its file. */
  readonly variable: string;
  /** The file it was read from; null: the variable itself has it. */
  readonly path: string | null;
}

/** Reads a text file. @throws Error when it cannot be read */
export type ReadText = (path: string) => string;

/** The variable that names a file with the secret of another. */
export function fileVariable(name: string): string {
  return `${name}_FILE`;
}

/**
 * A secret, as every part of LockDB takes it from its environment: `NAME` has it, or `NAME_FILE` names a file that has it.
 * @returns null when neither is set
 * @throws Error when both are, or the file cannot be read or is empty; the message never has the secret
 */
export function secretFrom(
  name: string,
  env: Readonly<Record<string, string | undefined>>,
  readText: ReadText,
): Secret | null {
  const [text, variable] = [env[name], fileVariable(name)];
  const path = env[variable];
  if (text !== undefined && path !== undefined)
    throw new Error(
      `${name} and ${variable} are both set. Set one of them: which is meant is not for us to guess.`,
    );
  if (text !== undefined) return { text, variable: name, path: null };
  if (path === undefined) return null;
  return { text: secretInFile(path, variable, readText), variable, path };
}

/**
 * What a file has, without the line end that editors and `echo` leave behind.
 * @param source what named the file, to begin a message with
 * @throws Error when the file cannot be read or is empty
 */
export function secretInFile(path: string, source: string, readText: ReadText): string {
  if (path === "") throw new Error(`${source}: must name a file, and is empty.`);
  let text: string;
  try {
    text = readText(path).trimEnd();
  } catch (error) {
    throw new Error(`${source}: the file ${path} cannot be read: ${(error as Error).message}.`);
  }
  if (text === "") throw new Error(`${source}: the file ${path} is empty.`);
  return text;
}
