/** Takes a hold from somebody: says whom it hurts, asks for the reason, and can ask the holder first. */
import { useSignal } from "@preact/signals";
import type { LockInfo } from "./api.js";
import { count, plural, span } from "./format.js";
import { Icon } from "./icons.js";
import { api, problemOf, said } from "./state.js";
import { Button, Dialog, Foreign, Problem, Time } from "./ui.js";

const REASON_MAX = 256;

export function ForceDialog({
  service,
  lock,
  token,
  onClose,
  onDone,
}: {
  readonly service: string;
  readonly lock: LockInfo;
  readonly token: number;
  readonly onClose: () => void;
  readonly onDone: () => void;
}) {
  const reason = useSignal("");
  const problem = useSignal("");
  const isBusy = useSignal(false);
  const asked = useSignal<{ readonly atMs: number; readonly told: boolean } | null>(null);
  const holder = lock.holders.find((each) => each.token === token);
  const run = async (act: () => Promise<void>) => {
    if (reason.value.trim() === "") {
      problem.value = "Say why: the holder is told, and for a release it stands in the audit log.";
      document.getElementById("force-reason")?.focus();
      return;
    }
    isBusy.value = true;
    problem.value = "";
    try {
      await act();
    } catch (error) {
      problem.value = problemOf(error);
    }
    isBusy.value = false;
  };
  const ask = () =>
    run(async () => {
      const { told } = await api.value!.ask(service, lock.name, token, reason.value.trim());
      asked.value = { atMs: Date.now(), told };
      said.value = told ? "The holder was told." : "The holder will be told.";
    });
  const force = () =>
    run(async () => {
      await api.value!.force(service, lock.name, token, reason.value.trim());
      said.value = "It is freed.";
      onDone();
    });
  if (holder === undefined) {
    return (
      <Dialog title="It is over" onClose={onClose}>
        <p>
          <Icon name="check" />{" "}
          {asked.value === null ? "This hold has ended meanwhile." : "The holder has given it back."} Nothing
          was forced.
        </p>
        <div class="dialog-acts">
          <Button tone="main" onClick={onClose}>
            Close
          </Button>
        </div>
      </Dialog>
    );
  }
  const others = (holder.names ?? []).filter((each) => each !== lock.name);
  const next = lock.queue[0];
  return (
    <Dialog
      title={
        <>
          Take it from <Foreign text={holder.owner} />
        </>
      }
      onClose={onClose}
      tone="bad"
    >
      <dl class="facts">
        <dt>Lock</dt>
        <dd>
          <Foreign text={lock.name} isLong />
        </dd>
        <dt>Holder</dt>
        <dd>
          <Foreign text={holder.owner} isLong /> · token {token} · for {span(holder.heldForMs)}
        </dd>
      </dl>
      <h3>Whom it hurts</h3>
      <ul class="hurts">
        <li>
          {holder.detached
            ? "This holder has no connection. It finds out when it renews the hold, gives it back, or checks its token."
            : "The holder is told at once, or when it comes back."}{" "}
          Until then it may be at work, <strong>beside the next one</strong>: only a place that checks tokens
          is safe from that.
        </li>
        {holder.mode !== "exclusive" && lock.holderCount > 1 ? (
          <li>
            {plural(lock.holderCount - 1, "other holder")} of this lock{" "}
            {lock.holderCount === 2 ? "keeps" : "keep"} it.
          </li>
        ) : null}
        {others.length === 0 ? null : (
          <li>
            It is part of a set:{" "}
            {others.map((each, at) => (
              <>
                {at === 0 ? null : ", "}
                <Foreign key={each} text={each} />
              </>
            ))}{" "}
            {others.length === 1 ? "is" : "are"} freed with it.
          </li>
        )}
        {holder.waitsFor === undefined ? null : (
          <li>
            Inside it somebody waits for{" "}
            {holder.waitsFor.map((each, at) => (
              <>
                {at === 0 ? null : ", "}
                <Foreign key={each} text={each} />
              </>
            ))}
            .
          </li>
        )}
        <li>
          {next === undefined ? (
            "Nobody waits for it."
          ) : (
            <>
              Of {count(lock.queueLength)} waiting, <Foreign text={next.owner} /> comes next, at once, and is
              told that this hold was forced.
            </>
          )}
        </li>
      </ul>
      <label for="force-reason">Reason</label>
      <input
        id="force-reason"
        autocomplete="off"
        maxLength={REASON_MAX}
        placeholder="such as: host db3 hangs"
        aria-describedby="force-hint"
        aria-invalid={problem.value !== ""}
        value={reason.value}
        onInput={(event) => {
          reason.value = event.currentTarget.value;
        }}
      />
      <p class="hint" id="force-hint">
        The holder and everybody who watches can read it. A release by force is in the audit log, with your
        key.
      </p>
      {asked.value === null ? null : (
        <div class="note">
          <Icon name="bell" />
          <div>
            Asked <Time ms={asked.value.atMs} />.{" "}
            {asked.value.told
              ? "The holder is connected, and was told."
              : "The holder has no connection now. It is told when it comes back or renews."}{" "}
            This closes when it is given back.
          </div>
        </div>
      )}
      <Problem text={problem.value} />
      <div class="dialog-acts">
        <Button onClick={onClose}>Leave it</Button>
        <Button icon="bell" disabled={isBusy.value} onClick={ask}>
          {asked.value === null ? "Ask first" : "Ask again"}
        </Button>
        <Button tone="bad" icon="force" disabled={isBusy.value} onClick={force}>
          Free it by force
        </Button>
      </div>
    </Dialog>
  );
}
