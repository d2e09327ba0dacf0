/** Small parts that all screens are made of. */
import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ago, ahead, fullUtc, span, utc } from "./format.js";
import { Icon, type IconName } from "./icons.js";
import { type Route, toHash } from "./route.js";
import { nowMs, said, times } from "./state.js";

type Tone = "plain" | "held" | "wait" | "bad" | "good" | "closed";

/** A text of somebody else's: it cannot turn what stands around it (bidi), and takes any number of lines. */
export function Foreign({ text, isLong = false }: { readonly text: string; readonly isLong?: boolean }) {
  return (
    <bdi class={isLong ? "foreign long" : "foreign"} title={isLong ? undefined : text}>
      {shown(text)}
    </bdi>
  );
}

/** What one could not see is said: a name of spaces alone is none that one could tell from another. */
function shown(text: string): ComponentChildren {
  if (text === "") return <i class="dim">(empty)</i>;
  if (/^[\s\p{Cf}]*$/u.test(text)) {
    return [...text]
      .map((each) => `U+${each.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`)
      .join(" ");
  }
  return text;
}

export function LockLink({ service, name }: { readonly service: string; readonly name: string }) {
  return (
    <a class="lock-link" href={toHash({ screen: "lock", service, name })}>
      <Foreign text={name} />
    </a>
  );
}

export function Link({
  to,
  children,
  ...more
}: { readonly to: Route; readonly children: ComponentChildren } & JSX.HTMLAttributes<HTMLAnchorElement>) {
  return (
    <a href={toHash(to)} {...more}>
      {children}
    </a>
  );
}

export function Badge({
  tone = "plain",
  icon,
  children,
}: {
  readonly tone?: Tone;
  readonly icon?: IconName;
  readonly children: ComponentChildren;
}) {
  return (
    <span class={`badge ${tone}`}>
      {icon === undefined ? null : <Icon name={icon} />}
      {children}
    </span>
  );
}

/** A time of day, beside now or in UTC; the other one and the day are in its title. */
export function Time({ ms, now }: { readonly ms: number; readonly now?: number }) {
  const at = now ?? nowMs.value;
  const relative = ms > at + 999 ? ahead(ms - at) : ago(Math.max(0, at - ms));
  const isUtc = times.value === "utc";
  return (
    <time dateTime={new Date(ms).toISOString()} title={isUtc ? `${relative}, ${fullUtc(ms)}` : fullUtc(ms)}>
      {isUtc ? utc(ms, at) : relative}
    </time>
  );
}

/** How long it is since then; in UTC mode since when. */
export function Since({ ms }: { readonly ms: number }) {
  if (times.value === "utc") return <Time ms={ms} />;
  return (
    <time dateTime={new Date(ms).toISOString()} title={`since ${fullUtc(ms)}`}>
      {span(Math.max(0, nowMs.value - ms))}
    </time>
  );
}

export function Button({
  tone = "",
  icon,
  children,
  ...more
}: {
  readonly tone?: "" | "main" | "bad" | "quiet";
  readonly icon?: IconName;
  readonly children?: ComponentChildren;
} & Omit<JSX.HTMLAttributes<HTMLButtonElement>, "icon"> & {
    readonly disabled?: boolean;
    readonly type?: "button" | "submit";
  }) {
  return (
    <button type="button" class={`button ${tone}`} {...more}>
      {icon === undefined ? null : <Icon name={icon} />}
      {children}
    </button>
  );
}

export function Copy({ text, label = "Copy" }: { readonly text: string; readonly label?: string }) {
  const done = useSignal<"" | "done" | "failed">("");
  const copy = async () => {
    done.value = (await copied(text)) ? "done" : "failed";
    said.value = done.value === "done" ? "Copied." : "It could not be copied.";
    setTimeout(() => {
      done.value = "";
    }, 2_000);
  };
  return (
    <Button tone="quiet" icon={done.value === "done" ? "check" : "copy"} onClick={copy}>
      {done.value === "" ? label : done.value === "done" ? "Copied" : "Select it yourself"}
    </Button>
  );
}

/** Beyond loopback and without TLS browsers have no clipboard for pages, but for what is selected. */
async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  }
}

/** Something to run, with a button that copies it. */
export function Snippet({ text, label }: { readonly text: string; readonly label: string }) {
  return (
    <div class="snippet">
      <pre tabIndex={0} role="region" aria-label={label}>
        <code>{text}</code>
      </pre>
      <Copy text={text} label="Copy" />
    </div>
  );
}

/** A secret that is shown this once. */
export function Secret({ label, value }: { readonly label: string; readonly value: string }) {
  return (
    <div class="secret" role="group" aria-label={label}>
      <p>
        <Icon name="key" /> <strong>It is shown only now.</strong> Copy it before you go on: the server keeps
        a hash of it.
      </p>
      <div class="secret-line">
        <input
          readOnly
          aria-label={label}
          value={value}
          spellcheck={false}
          autocomplete="off"
          onFocus={(event) => event.currentTarget.select()}
        />
        <Copy text={value} label="Copy the key" />
      </div>
    </div>
  );
}

export function Problem({
  text,
  children,
}: {
  readonly text: string;
  readonly children?: ComponentChildren;
}) {
  if (text === "") return null;
  return (
    <div class="note bad" role="alert">
      <Icon name="warning" />
      <div>
        {text} {children}
      </div>
    </div>
  );
}

export function Empty({
  icon,
  title,
  children,
}: {
  readonly icon: IconName;
  readonly title: string;
  readonly children?: ComponentChildren;
}) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} />
      </span>
      <h2>{title}</h2>
      <div>{children}</div>
    </div>
  );
}

export function Loading() {
  return <p class="loading dim">Loading…</p>;
}

/** The head of a screen. It gets the focus when one has come here: a screen reader then says where one is. */
export function Head({
  title,
  beside,
  children,
}: {
  readonly title: ComponentChildren;
  readonly beside?: ComponentChildren;
  readonly children?: ComponentChildren;
}) {
  return (
    <header class="head">
      <div class="head-title">
        <h1 tabIndex={-1} id="screen-title">
          {title}
        </h1>
        {beside}
      </div>
      {children}
    </header>
  );
}

export function Card({
  title,
  beside,
  children,
  className = "",
}: {
  readonly title?: ComponentChildren;
  readonly beside?: ComponentChildren;
  readonly children: ComponentChildren;
  readonly className?: string;
}) {
  return (
    <section class={`card ${className}`}>
      {title === undefined ? null : (
        <div class="card-head">
          <h2>{title}</h2>
          {beside}
        </div>
      )}
      {children}
    </section>
  );
}

/** Modal: the browser keeps the focus in it, and Escape closes it. */
export function Dialog({
  title,
  onClose,
  children,
  tone = "",
}: {
  readonly title: ComponentChildren;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
  readonly tone?: "" | "bad";
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog
      ref={dialog}
      class={tone}
      aria-labelledby="dialog-title"
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
    >
      <div class="dialog-body">
        <div class="dialog-head">
          <h2 id="dialog-title">{title}</h2>
          <Button tone="quiet" icon="close" aria-label="Close" onClick={onClose} />
        </div>
        {children}
      </div>
    </dialog>
  );
}

/** One value of many that exclude each other. */
export function Choice<T extends string>({
  label,
  value,
  options,
  onPick,
}: {
  readonly label: string;
  readonly value: T;
  readonly options: readonly (readonly [T, string])[];
  readonly onPick: (value: T) => void;
}) {
  return (
    <fieldset class="choice">
      <legend class="off-screen">{label}</legend>
      {options.map(([each, text]) => (
        <button type="button" key={each} aria-pressed={value === each} onClick={() => onPick(each)}>
          {text}
        </button>
      ))}
    </fieldset>
  );
}

export function SearchField({ label, typed }: { readonly label: string; readonly typed: Signal<string> }) {
  return (
    <label class="search">
      <span class="off-screen">{label}</span>
      <input
        type="search"
        placeholder={`${label}…`}
        autocomplete="off"
        spellcheck={false}
        value={typed.value}
        onInput={(event) => {
          typed.value = event.currentTarget.value;
        }}
      />
    </label>
  );
}
