import { useId, useState } from "preact/hooks";
import type { Conversation, ConversationKey, Engine } from "../../engine/api";
import { t } from "../i18n";
import { Avatar, Badge, Dialog, Empty } from "../kit";
import { best } from "../list/filter";
import { namesOf } from "../list/list";
import { faceOf } from "../names";
import { conversationOf } from "./open";

const most = 12;

/** Conversations first, then everybody and every group that there is none with yet. */
function candidates(engine: Engine, typed: string): Conversation[] {
  const known = engine.conversations.value;
  const found = best(known, (c) => namesOf(engine, c), typed);
  if (typed.trim() === "" || found.length >= most) {
    return found.slice(0, most);
  }
  const keys = new Set<ConversationKey>(known.map((c) => c.key));
  const others: ConversationKey[] = [
    ...[...engine.people.value.values()]
      .filter((p) => !p.left && p.id !== engine.me.value?.id)
      .map((p): ConversationKey => `u${p.id}`),
    ...[...engine.groups.value.values()].filter((g) => !g.gone).map((g): ConversationKey => `g${g.id}`),
  ];
  const made = others.filter((k) => !keys.has(k)).flatMap((k) => conversationOf(engine, k) ?? []);
  return [...found, ...best(made, (c) => namesOf(engine, c), typed)].slice(0, most);
}

interface SwitcherProps {
  engine: Engine;
  onOpen: (key: ConversationKey) => void;
  onClose: () => void;
}

/** Ctrl+K: a few letters, Enter. */
export function Switcher({ engine, onOpen, onClose }: SwitcherProps) {
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const id = useId();
  const found = candidates(engine, typed);
  const pick = (c: Conversation | undefined) => {
    if (c) {
      onClose();
      onOpen(c.key);
    }
  };
  const keys = (e: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (by !== undefined) {
      e.preventDefault();
      setAt((at + by + found.length) % Math.max(1, found.length));
    } else if (e.key === "Enter" && !e.isComposing) {
      e.preventDefault();
      pick(found[at]);
    }
  };
  return (
    <Dialog title={t("switch.label")} bare class="switcher" onClose={onClose}>
      <input
        autofocus
        class="switcher-input"
        value={typed}
        placeholder={t("switch.placeholder")}
        role="combobox"
        aria-label={t("switch.label")}
        aria-expanded="true"
        aria-controls={id}
        aria-activedescendant={found[at] ? `${id}-${at}` : undefined}
        autocomplete="off"
        onInput={(e) => {
          setTyped(e.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={keys}
      />
      <div class="switcher-list" role="listbox" id={id} aria-label={t("list.label")}>
        {found.map((c, i) => (
          <div
            key={c.key}
            id={`${id}-${i}`}
            role="option"
            tabIndex={-1}
            aria-selected={i === at}
            class={`switcher-item ${i === at ? "switcher-at" : ""}`}
            onPointerMove={() => setAt(i)}
            onPointerUp={() => pick(c)}
          >
            <Avatar
              engine={engine}
              name={c.title}
              id={c.id}
              path={faceOf(engine, c)}
              box={28}
              group={c.kind === "group"}
            />
            <span class="switcher-name">{c.title}</span>
            <Badge n={c.unread} muted={c.muted} />
          </div>
        ))}
        {found.length === 0 && <Empty icon="search" title={t("list.none", { text: typed })} />}
      </div>
      <p class="switcher-hint">{t("switch.hint")}</p>
    </Dialog>
  );
}
