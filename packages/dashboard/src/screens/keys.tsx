import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { KeyInfo } from "../api.js";
import { usePoll } from "../hooks.js";
import { api, mayAll, self } from "../state.js";
import { Badge, Button, Empty, Foreign, Head, Loading, Problem, Time } from "../ui.js";
import { Audit } from "./audit.js";
import { MakeDialog, NarrowDialog, RevokeDialog, RotateDialog } from "./key-dialogs.js";

const POLL_MS = 15_000;

type Act =
  | { readonly kind: "make" }
  | { readonly kind: "narrow" | "rotate" | "revoke"; readonly key: KeyInfo };

export function Keys() {
  const act = useSignal<Act | null>(null);
  const isOverall = mayAll("admin");
  const { value, problem, again } = usePoll(
    async (signal) =>
      isOverall ? (await api.value!.get<{ keys: readonly KeyInfo[] }>("/v1/keys", {}, signal)).keys : [],
    POLL_MS,
    "keys",
  );
  useEffect(() => {
    document.title = "Keys · LockDB";
  }, []);
  const close = () => {
    act.value = null;
    again();
  };
  return (
    <>
      <Head
        title="Keys"
        beside={
          <Button
            tone="main"
            icon="more"
            onClick={() => {
              act.value = { kind: "make" };
            }}
          >
            Make a key
          </Button>
        }
      >
        <p class="dim">Give each service its own, with no more than it needs.</p>
      </Head>
      <Problem text={problem.value} />
      {!isOverall ? (
        <Empty icon="key" title="Your key is for some services only">
          <p>It can make keys for these, and see no list of all.</p>
        </Empty>
      ) : value.value === null ? (
        problem.value === "" ? (
          <Loading />
        ) : null
      ) : (
        <ul class="key-list">
          {value.value.map((key) => (
            <KeyCard
              key={key.id}
              info={key}
              onAct={(kind) => {
                act.value = { kind, key };
              }}
            />
          ))}
        </ul>
      )}
      {isOverall ? <Audit /> : null}
      {act.value === null ? null : act.value.kind === "make" ? (
        <MakeDialog onClose={close} />
      ) : act.value.kind === "narrow" ? (
        <NarrowDialog info={act.value.key} onClose={close} />
      ) : act.value.kind === "rotate" ? (
        <RotateDialog info={act.value.key} onClose={close} />
      ) : (
        <RevokeDialog info={act.value.key} onClose={close} />
      )}
    </>
  );
}

function KeyCard({
  info,
  onAct,
}: {
  readonly info: KeyInfo;
  readonly onAct: (kind: "narrow" | "rotate" | "revoke") => void;
}) {
  const {
    id,
    name,
    scopes,
    services: own,
    createdAt,
    createdBy,
    expiresAt,
    oldSecretEndsAt,
    lastUsedAt,
  } = info;
  const isMine = self.value?.key.id === id;
  const isOver = expiresAt !== null && Date.parse(expiresAt) < Date.now();
  return (
    <li class="card key-card">
      <div class="key-head">
        <h2>
          <Foreign text={name} />
        </h2>
        <code>{id}</code>
        {isMine ? <Badge tone="held">yours</Badge> : null}
        {isOver ? <Badge tone="bad">ended</Badge> : null}
      </div>
      <p class="scopes">
        {scopes.map((scope) => (
          <Badge key={scope} tone={scope === "admin" || scope === "force" ? "wait" : "plain"}>
            {scope}
          </Badge>
        ))}
        <span class="dim">{own === null ? "all services" : own.join(", ")}</span>
      </p>
      <p class="dim small-text">
        {isMine ? (
          "In use"
        ) : lastUsedAt === null ? (
          "Never used"
        ) : (
          <>
            Used <Time ms={Date.parse(lastUsedAt)} />
          </>
        )}
        {createdAt === null ? null : (
          <>
            {" "}
            · made <Time ms={Date.parse(createdAt)} /> by <bdi>{createdBy}</bdi>
          </>
        )}
        {expiresAt === null || isOver ? null : (
          <>
            {" "}
            · ends <Time ms={Date.parse(expiresAt)} />
          </>
        )}
        {oldSecretEndsAt === null ? null : (
          <>
            {" "}
            · the old secret works until <Time ms={Date.parse(oldSecretEndsAt)} />
          </>
        )}
      </p>
      {id === "root" ? (
        <p class="key-acts dim small-text">It is set where the server is started.</p>
      ) : (
        <div class="key-acts">
          <Button onClick={() => onAct("narrow")}>Narrow…</Button>
          <Button onClick={() => onAct("rotate")}>Rotate…</Button>
          <Button tone="bad" onClick={() => onAct("revoke")}>
            Revoke…
          </Button>
        </div>
      )}
    </li>
  );
}
