import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { ConversationKey, Engine } from "../../engine/api";
import { ChatView } from "../chat/chat";
import { t } from "../i18n";
import { Avatar, Badge, Empty, Icon, type IconName } from "../kit";
import { ConversationList } from "../list/list";
import { Contacts, GroupPanel, NewConversation, PersonCard, Settings } from "../people";
import { Help } from "./help";
import { Logo } from "./login";
import { conversationOf, neighbour } from "./open";
import { back, go, route, type Section } from "./route";
import { StatusPill } from "./status";
import { Switcher } from "./switcher";

type Layer = { kind: "settings" | "new" | "switcher" | "help" } | { kind: "person"; id: number };

interface RailButtonProps {
  icon: IconName;
  label: string;
  current?: boolean;
  badge?: number;
  onClick: () => void;
}

function RailButton({ icon, label, current, badge = 0, onClick }: RailButtonProps) {
  return (
    <button
      type="button"
      class="rail-button"
      aria-current={current ? "page" : undefined}
      title={label}
      onClick={onClick}
    >
      <Icon name={icon} size={22} />
      <span class="rail-label">{label}</span>
      <Badge n={badge} />
    </button>
  );
}

/** At the left edge, or at the bottom of a phone. */
function Rail({ engine, onSettings }: { engine: Engine; onSettings: () => void }) {
  const { section, open } = route.value;
  const me = engine.me.value;
  const to = (next: Section) => go(open ? { section: next, open } : { section: next });
  return (
    <nav class="rail" aria-label={t("nav.label")}>
      {me && (
        <button
          type="button"
          class="rail-me"
          aria-label={t("nav.me", { name: me.name })}
          title={me.name}
          onClick={onSettings}
        >
          <Avatar engine={engine} name={me.name} id={me.id} path={me.avatar} box={36} />
        </button>
      )}
      <RailButton
        icon="chat"
        label={t("nav.chats")}
        current={section === "chats"}
        badge={engine.unread.value}
        onClick={() => to("chats")}
      />
      <RailButton
        icon="people"
        label={t("nav.contacts")}
        current={section === "contacts"}
        onClick={() => to("contacts")}
      />
      <span class="rail-gap" />
      <RailButton icon="settings" label={t("nav.settings")} onClick={onSettings} />
    </nav>
  );
}

/** Keys that work everywhere. */
function useKeys(
  engine: Engine,
  layer: { value: Layer | undefined; peek(): Layer | undefined },
  open: (key: ConversationKey) => void,
): void {
  useEffect(() => {
    const pressed = (e: KeyboardEvent) => {
      const command = (e.ctrlKey || e.metaKey) && !e.altKey && !e.shiftKey;
      const typing = e.target instanceof HTMLInputElement || e.target instanceof HTMLTextAreaElement;
      if (command && e.key.toLowerCase() === "k") {
        e.preventDefault();
        layer.value = { kind: "switcher" };
      } else if (e.key === "F1" || (e.key === "?" && !typing)) {
        e.preventDefault();
        layer.value = { kind: "help" };
      } else if (e.altKey && !command && (e.key === "ArrowDown" || e.key === "ArrowUp") && !layer.peek()) {
        e.preventDefault();
        const next = neighbour(engine.conversations.peek(), route.peek().open, e.key === "ArrowDown" ? 1 : -1);
        if (next) {
          open(next);
        }
      } else if (e.key === "Escape" && !e.defaultPrevented && !layer.peek() && !e.isComposing) {
        const box = document.querySelector<HTMLElement>(".compose-text");
        box && document.activeElement !== box ? box.focus() : back();
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [engine]);
}

interface LayersProps {
  engine: Engine;
  layer: Layer | undefined;
  onOpen: (key: ConversationKey) => void;
  onClose: () => void;
}

function Layers({ engine, layer, onOpen, onClose }: LayersProps) {
  switch (layer?.kind) {
    case "settings":
      return <Settings engine={engine} onClose={onClose} />;
    case "new":
      return <NewConversation engine={engine} onConversation={onOpen} onClose={onClose} />;
    case "switcher":
      return <Switcher engine={engine} onOpen={onOpen} onClose={onClose} />;
    case "help":
      return <Help onClose={onClose} />;
    case "person":
      return <PersonCard key={layer.id} engine={engine} id={layer.id} onConversation={onOpen} onClose={onClose} />;
    default:
      return null;
  }
}

interface StageProps {
  engine: Engine;
  onPerson: (id: number) => void;
}

/** The conversation, and beside it the details of a group. */
function Stage({ engine, onPerson }: StageProps) {
  const details = useSignal(false);
  const open = route.value.open;
  const c = open && conversationOf(engine, open);
  if (!c) {
    return (
      <div class="nothing">
        <Logo size={56} />
        <Empty icon="chat" title={t("chat.none")} text={t("chat.noneText")} />
      </div>
    );
  }
  const showGroup = details.value && c.kind === "group";
  const close = () => {
    details.value = false;
  };
  return (
    <>
      <ChatView
        key={c.key}
        engine={engine}
        conversation={c}
        details={showGroup}
        onBack={back}
        onDetails={() => {
          if (c.kind === "person") {
            onPerson(c.id);
          } else {
            details.value = !details.value;
          }
        }}
      />
      {showGroup && (
        <aside class="details" aria-label={t("chat.details")}>
          <GroupPanel
            key={c.key}
            engine={engine}
            id={c.id}
            onPerson={onPerson}
            onClose={close}
            onLeft={() => {
              close();
              back();
            }}
          />
        </aside>
      )}
    </>
  );
}

export function Shell({ engine }: { engine: Engine }) {
  const layer = useSignal<Layer | undefined>(undefined);
  const { section, open } = route.value;
  const close = () => {
    layer.value = undefined;
  };
  const show = (key: ConversationKey) => {
    layer.value = undefined;
    go({ section: route.peek().section, open: key });
  };
  const person = (id: number) => {
    layer.value = { kind: "person", id };
  };
  useKeys(engine, layer, show);
  return (
    <div class={`shell ${open ? "shell-open" : ""}`}>
      <button type="button" class="skip" onClick={skip}>
        {t("app.skip")}
      </button>
      <Rail
        engine={engine}
        onSettings={() => {
          layer.value = { kind: "settings" };
        }}
      />
      <div class="side">
        <StatusPill engine={engine} />
        {section === "chats" ? (
          <ConversationList
            engine={engine}
            open={open}
            onOpen={show}
            onNew={() => {
              layer.value = { kind: "new" };
            }}
          />
        ) : (
          <Contacts engine={engine} onPerson={person} onConversation={show} />
        )}
      </div>
      <main class="stage-area" id="conversation" tabIndex={-1}>
        <Stage engine={engine} onPerson={person} />
      </main>
      <Layers engine={engine} layer={layer.value} onOpen={show} onClose={close} />
    </div>
  );
}

/** For those who come by keyboard: past the list. */
function skip(): void {
  (document.querySelector<HTMLElement>(".compose-text") ?? document.getElementById("conversation"))?.focus();
}
