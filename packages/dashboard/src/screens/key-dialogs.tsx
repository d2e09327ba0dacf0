/** What is done to keys: each asks what has to be known, and says what comes of it. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { KeyInfo, Scope } from "../api.js";
import { Icon } from "../icons.js";
import { api, problemOf, said, self, services } from "../state.js";
import { Button, Dialog, Foreign, Problem, Secret } from "../ui.js";

const DAY_MS = 86_400_000;
const SCOPES: readonly (readonly [Scope, string])[] = [
  ["lock", "ask for locks and give them back"],
  ["read", "look: this page, lists, events"],
  ["force", "take a lock from somebody else"],
  ["admin", "keys, settings, the audit log"],
];
const ENDS = [
  ["1", "in a day"],
  ["30", "in 30 days"],
  ["90", "in 90 days"],
  ["365", "in a year"],
] as const;

/** What all of these have: something is tried, may be refused, and gives something. */
function useAct<T>() {
  const [problem, isBusy, done] = [useSignal(""), useSignal(false), useSignal<T | null>(null)];
  const run = async (act: () => Promise<T>) => {
    if (isBusy.value) return;
    isBusy.value = true;
    problem.value = "";
    try {
      done.value = await act();
      said.value = "Done.";
    } catch (error) {
      problem.value = problemOf(error);
    }
    isBusy.value = false;
  };
  return { problem, isBusy, done, run };
}

/** Ids of services, with commas between. */
function ServicesField({
  id,
  ids,
  ...more
}: {
  readonly id: string;
  readonly ids: Signal<string>;
  readonly list?: string;
  readonly "aria-describedby"?: string;
}) {
  return (
    <>
      <label for={id}>Services</label>
      <input
        id={id}
        autocomplete="off"
        spellcheck={false}
        placeholder="all of the account"
        {...more}
        value={ids.value}
        onInput={(event) => {
          ids.value = event.currentTarget.value;
        }}
      />
    </>
  );
}

/** @param props.none what it says when no end is picked */
function EndField({
  id,
  days,
  none,
}: {
  readonly id: string;
  readonly days: Signal<string>;
  readonly none: string;
}) {
  return (
    <>
      <label for={id}>Ends</label>
      <select
        id={id}
        value={days.value}
        onChange={(event) => {
          days.value = event.currentTarget.value;
        }}
      >
        <option value="">{none}</option>
        {ENDS.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </>
  );
}

function ScopePicker({
  picked,
  most,
  onPick,
}: {
  readonly picked: readonly Scope[];
  readonly most: readonly Scope[];
  readonly onPick: (scopes: readonly Scope[]) => void;
}) {
  return (
    <fieldset class="ticks">
      <legend>May</legend>
      {SCOPES.filter(([scope]) => most.includes(scope)).map(([scope, text]) => (
        <label key={scope}>
          <input
            type="checkbox"
            checked={picked.includes(scope)}
            onChange={(event) =>
              onPick(
                event.currentTarget.checked ? [...picked, scope] : picked.filter((each) => each !== scope),
              )
            }
          />
          <span>
            <b>{scope}</b> <span class="dim">{text}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

function listIn(text: string): readonly string[] {
  return text.split(/[\s,]+/).filter((each) => each !== "");
}

function endIn(days: string): string | null {
  return days === "" ? null : new Date(Date.now() + Number(days) * DAY_MS).toISOString();
}

export function MakeDialog({ onClose }: { readonly onClose: () => void }) {
  const own = self.value!.key;
  const name = useSignal("");
  const scopes = useSignal<readonly Scope[]>(own.scopes.filter((each) => each === "lock" || each === "read"));
  const limit = useSignal(own.services?.join(", ") ?? "");
  const days = useSignal("90");
  const { problem, isBusy, done, run } = useAct<{ readonly apiKey: string; readonly key: KeyInfo }>();
  if (done.value !== null) {
    return (
      <Dialog title="The key works" onClose={onClose}>
        <Secret label="The new API key" value={done.value.apiKey} />
        <div class="dialog-acts">
          <Button tone="main" onClick={onClose}>
            I have copied it
          </Button>
        </div>
      </Dialog>
    );
  }
  const make = (event: Event) => {
    event.preventDefault();
    const ids = listIn(limit.value);
    const body = {
      name: name.value.trim() || "unnamed",
      scopes: scopes.value,
      services: ids.length === 0 ? null : ids,
      expiresAt: endIn(days.value),
    };
    return run(() => api.value!.call("POST", "/v1/keys", {}, body));
  };
  return (
    <Dialog title="Make a key" onClose={onClose}>
      <form onSubmit={make} method="dialog">
        <label for="key-name">What it is for</label>
        <input
          id="key-name"
          autocomplete="off"
          maxLength={256}
          placeholder="billing in production"
          value={name.value}
          onInput={(event) => {
            name.value = event.currentTarget.value;
          }}
        />
        <ScopePicker
          picked={scopes.value}
          most={own.scopes}
          onPick={(picked) => {
            scopes.value = picked;
          }}
        />
        <ServicesField
          id="key-services"
          ids={limit}
          list="known-services"
          aria-describedby="key-services-hint"
        />
        <datalist id="known-services">
          {(services.value ?? []).slice(0, 200).map((id) => (
            <option key={id} value={id} />
          ))}
        </datalist>
        <p class="hint" id="key-services-hint">
          With commas between; empty for all.
        </p>
        <EndField id="key-ends" days={days} none="never" />
        <Problem text={problem.value} />
        <div class="dialog-acts">
          <Button onClick={onClose}>Cancel</Button>
          <Button tone="main" type="submit" disabled={isBusy.value || scopes.value.length === 0}>
            Make it
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

export function NarrowDialog({ info, onClose }: { readonly info: KeyInfo; readonly onClose: () => void }) {
  const scopes = useSignal<readonly Scope[]>(info.scopes);
  const limit = useSignal(info.services?.join(", ") ?? "");
  const days = useSignal("");
  const { problem, isBusy, done, run } = useAct<KeyInfo>();
  useEffect(() => {
    if (done.value !== null) onClose();
  }, [done.value]);
  const narrow = (event: Event) => {
    event.preventDefault();
    const ids = listIn(limit.value);
    const end = endIn(days.value);
    const body = {
      ...(scopes.value.length < info.scopes.length ? { scopes: scopes.value } : {}),
      ...(ids.join() === (info.services ?? []).join() ? {} : { services: ids }),
      ...(end === null ? {} : { expiresAt: end }),
    };
    if (Object.keys(body).length === 0) {
      problem.value = "Take something away first.";
      return;
    }
    return run(() => api.value!.call("PATCH", `/v1/keys/${info.id}`, {}, body));
  };
  return (
    <Dialog
      title={
        <>
          Narrow <Foreign text={info.name} />
        </>
      }
      onClose={onClose}
    >
      <form onSubmit={narrow} method="dialog">
        <p>It can never be made more again. What is open under it hears of it within a second.</p>
        <ScopePicker
          picked={scopes.value}
          most={info.scopes}
          onPick={(picked) => {
            scopes.value = picked;
          }}
        />
        <ServicesField id="narrow-services" ids={limit} />
        <EndField id="narrow-ends" days={days} none="as before" />
        <Problem text={problem.value} />
        <div class="dialog-acts">
          <Button onClick={onClose}>Cancel</Button>
          <Button tone="main" type="submit" disabled={isBusy.value || scopes.value.length === 0}>
            Narrow it
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

export function RotateDialog({ info, onClose }: { readonly info: KeyInfo; readonly onClose: () => void }) {
  const keptMs = useSignal(String(DAY_MS));
  const { problem, isBusy, done, run } = useAct<{ readonly apiKey: string }>();
  const isMine = self.value?.key.id === info.id;
  return (
    <Dialog
      title={
        <>
          Rotate <Foreign text={info.name} />
        </>
      }
      onClose={onClose}
    >
      {done.value !== null ? (
        <>
          <Secret label="The new API key" value={done.value.apiKey} />
          {isMine ? (
            <p class="note">
              <Icon name="warning" />
              <span>This is the key that you are signed in with. Sign in again with the new one.</span>
            </p>
          ) : null}
          <div class="dialog-acts">
            <Button tone="main" onClick={onClose}>
              I have copied it
            </Button>
          </div>
        </>
      ) : (
        <form
          method="dialog"
          onSubmit={(event) => {
            event.preventDefault();
            void run(() =>
              api.value!.call("POST", `/v1/keys/${info.id}/rotate`, {}, { oldKeptMs: Number(keptMs.value) }),
            );
          }}
        >
          <p>It keeps its id, name and rights, and gets another secret.</p>
          <label for="rotate-kept">The old secret works</label>
          <select
            id="rotate-kept"
            value={keptMs.value}
            onChange={(event) => {
              keptMs.value = event.currentTarget.value;
            }}
          >
            <option value={String(DAY_MS)}>for a day more</option>
            <option value={String(2 * 3_600_000)}>for two hours more</option>
            <option value={String(7 * DAY_MS)}>for a week more</option>
            <option value="0">no more: it has leaked</option>
          </select>
          <Problem text={problem.value} />
          <div class="dialog-acts">
            <Button onClick={onClose}>Cancel</Button>
            <Button tone="main" type="submit" disabled={isBusy.value}>
              Rotate it
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}

export function RevokeDialog({ info, onClose }: { readonly info: KeyInfo; readonly onClose: () => void }) {
  const { problem, isBusy, done, run } = useAct<object>();
  useEffect(() => {
    if (done.value !== null) onClose();
  }, [done.value]);
  return (
    <Dialog
      title={
        <>
          Revoke <Foreign text={info.name} />
        </>
      }
      onClose={onClose}
      tone="bad"
    >
      <p>
        It ends at once and for good, and what is open under it is closed within a second.{" "}
        <strong>Its locks are not freed</strong>: they end with their leases, because until then their holders
        may rightly believe in them.
      </p>
      {self.value?.key.id === info.id ? (
        <p class="note bad">
          <Icon name="warning" />
          <span>This is the key that you are signed in with.</span>
        </p>
      ) : null}
      <Problem text={problem.value} />
      <div class="dialog-acts">
        <Button onClick={onClose}>Leave it</Button>
        <Button
          tone="bad"
          disabled={isBusy.value}
          onClick={() => run(() => api.value!.call("DELETE", `/v1/keys/${info.id}`))}
        >
          Revoke it
        </Button>
      </div>
    </Dialog>
  );
}
