import { styleText } from "node:util";

export type Style = "bold" | "dim" | "red" | "yellow" | "green" | "gray";

/** Whether there are colours: not in a pipe or a file, nor where `NO_COLOR` is set. */
export function hasColours(
  stream: { readonly isTTY?: boolean },
  env: NodeJS.ProcessEnv = process.env,
): boolean {
  return stream.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb";
}

/**
 * Colours for people at a terminal that knows some: in a pipe or a file there are none, nor where `NO_COLOR` is set.
 * What is painted must be printable already: this adds what steers a terminal.
 */
export function painter(
  stream: { readonly isTTY?: boolean },
  env: NodeJS.ProcessEnv = process.env,
): (style: Style, text: string) => string {
  const isOn = hasColours(stream, env);
  return (style, text) => (isOn ? styleText(style, text, { validateStream: false }) : text);
}
