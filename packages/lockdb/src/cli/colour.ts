import { styleText } from "node:util";

export type Style = "bold" | "dim" | "red" | "yellow" | "green";

/**
 * Colours for people at a terminal that knows some: in a pipe or a file there are none, nor where `NO_COLOR` is set.
 * What is painted must be printable already: this adds what steers a terminal.
 */
export function painter(
  stream: { readonly isTTY?: boolean },
  env: NodeJS.ProcessEnv = process.env,
): (style: Style, text: string) => string {
  const isOn = stream.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb";
  return (style, text) => (isOn ? styleText(style, text, { validateStream: false }) : text);
}
