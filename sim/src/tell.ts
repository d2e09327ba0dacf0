import type { Answer, Command, DurableChange } from "../../packages/server/dist/engine/commands.js";
import type { About, Story } from "./story.js";
import { commandWords, type View, wordsOf } from "./view.js";

/** One step of an engine, in words. */
export function tell(
  story: Story,
  view: View,
  command: Command,
  { answers, changes }: { readonly answers: readonly Answer[]; readonly changes: readonly DurableChange[] },
  nowMs: number,
  about: About,
): void {
  if (command.kind === "tick" && answers.length === 0 && changes.length === 0) return;
  if (command.kind === "heartbeat" || command.kind === "acknowledge") return;
  story.note(about, "engine", () => {
    const said = answers.map(
      ({ to, message }) => `${view.sessionByAddress.get(to) ?? to} <- ${wordsOf(message)}`,
    );
    const stored = changes.map(({ type, id, value }) =>
      `${value === null ? "erases" : "writes"} ${type} ${id}`.trim(),
    );
    return `#${view.number} ${Math.round(nowMs)}: ${commandWords(command)} => ${[...said, ...stored].join("; ") || "nothing"}`;
  });
}
