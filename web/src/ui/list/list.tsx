import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Conversation, ConversationKey, Engine } from "../../engine/api";
import { Offsets } from "../chat/virtual";
import { drawn } from "../emoji";
import { listTime } from "../format";
import { t } from "../i18n";
import { Avatar, Badge, Button, Empty, Icon, IconButton, Menu, type Place, report, toast } from "../kit";
import { faceOf, nameOf, preview } from "../names";
import { best } from "./filter";

const rowHeight = 64;

interface ListProps {
  engine: Engine;
  open: ConversationKey | undefined;
  onOpen: (key: ConversationKey) => void;
  onNew: () => void;
}

/** What the second line says: who writes, what is about to be sent, or the last message. */
function Line({ engine, c }: { engine: Engine; c: Conversation }) {
  const writer = c.typing[0];
  if (writer !== undefined) {
    const text = c.kind === "group" ? t("list.typingWho", { name: nameOf(engine, writer) }) : t("list.typing");
    return <span class="item-typing">{text}</span>;
  }
  if (c.draft.trim() !== "") {
    return (
      <>
        <span class="item-draft">{t("list.draft")}</span> {drawn(c.draft)}
      </>
    );
  }
  const m = c.last;
  if (!m) {
    return null;
  }
  const who = m.mine ? t("list.you") : c.kind === "group" ? `${nameOf(engine, m.from, m.fromAddress)}:` : "";
  const text = m.burnSeconds && m.state === "live" ? t("list.burnPreview") : preview(m);
  return <>{m.state === "live" && who ? `${who} ${text}` : text}</>;
}

interface ItemProps {
  engine: Engine;
  c: Conversation;
  current: boolean;
  onOpen: (key: ConversationKey) => void;
  onMenu: (c: Conversation, at: Place) => void;
}

function Item({ engine, c, current, onOpen, onMenu }: ItemProps) {
  const bad = c.last?.delivery === "failed" || c.last?.delivery === "undeliverable";
  const presence = c.kind === "person" ? engine.people.value.get(c.id)?.presence : undefined;
  return (
    <button
      type="button"
      class={`item ${current ? "item-current" : ""} ${c.unread > 0 ? "item-unread" : ""}`}
      aria-current={current ? "true" : undefined}
      data-conversation={c.key}
      onClick={() => onOpen(c.key)}
      onContextMenu={(e) => {
        e.preventDefault();
        onMenu(c, { x: e.clientX, y: e.clientY });
      }}
      onKeyDown={(e) => {
        if (e.key === "Delete") {
          onMenu(c, e.currentTarget);
        }
      }}
    >
      <Avatar
        engine={engine}
        name={c.title}
        id={c.id}
        path={faceOf(engine, c)}
        box={48}
        group={c.kind === "group"}
        presence={presence === "online" ? presence : undefined}
      />
      <span class="item-main">
        <span class="item-top">
          <span class="item-title">{c.title}</span>
          {c.remote && (
            <span class="item-icon" title={t("list.remote")}>
              <Icon name="building" size={14} />
            </span>
          )}
          {c.muted && (
            <span class="item-icon" title={t("list.muted")}>
              <Icon name="bellOff" size={14} />
            </span>
          )}
          <span class="item-time">{listTime(c.lastTime)}</span>
        </span>
        <span class="item-bottom">
          {bad && (
            <span class="item-bad" role="img" aria-label={t("delivery.failed")}>
              <Icon name="warn" size={14} />
            </span>
          )}
          <span class="item-line">
            <Line engine={engine} c={c} />
          </span>
          <Badge n={c.unread} muted={c.muted} />
        </span>
      </span>
    </button>
  );
}

/** Only the rows near the screen: a busy account has thousands of conversations. */
function useWindow(all: readonly Conversation[]) {
  const offsets = useMemo(() => new Offsets(), []);
  const place = useSignal({ top: 0, height: 900 });
  offsets.set(all.map((c) => ({ key: c.key, estimate: rowHeight })));
  const { first, last } = offsets.window(place.value.top, place.value.height, 400);
  const scrolled = (e: Event) => {
    const box = e.currentTarget as HTMLElement;
    if (Math.abs(box.scrollTop - place.peek().top) > 100 || box.scrollTop < 100) {
      place.value = { top: box.scrollTop, height: box.clientHeight };
    }
  };
  return {
    shown: all.slice(first, last),
    above: offsets.top(first),
    below: offsets.total - offsets.top(last),
    scrolled,
  };
}

/** Arrow keys go from row to row; the rest is a list of buttons. */
function walk(e: KeyboardEvent): void {
  const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
  if (by === undefined || e.altKey) {
    return;
  }
  const items = [...(e.currentTarget as Element).querySelectorAll<HTMLElement>(".item")];
  const next = items[items.indexOf(document.activeElement as HTMLElement) + by];
  if (next) {
    e.preventDefault();
    next.focus();
  }
}

function Rows({ engine, all, open, onOpen }: { all: readonly Conversation[] } & Omit<ListProps, "onNew">) {
  const menu = useSignal<{ c: Conversation; at: Place } | undefined>(undefined);
  const { shown, above, below, scrolled } = useWindow(all);
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    box.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }, [open]);
  const persons = shown.flatMap((c) => (c.kind === "person" ? [c.id] : []));
  useEffect(() => engine.watch(persons), [persons.join()]);
  const remove = (c: Conversation) => {
    engine.removeConversation(c.key).then(() => toast(t("list.removed")), report);
  };
  return (
    <nav ref={box} class="items" aria-label={t("list.label")} onScroll={scrolled} onKeyDown={walk}>
      <div style={{ height: `${above}px` }} />
      {shown.map((c) => (
        <Item
          key={c.key}
          engine={engine}
          c={c}
          current={c.key === open}
          onOpen={onOpen}
          onMenu={(of, at) => {
            menu.value = { c: of, at };
          }}
        />
      ))}
      <div style={{ height: `${below}px` }} />
      {menu.value && (
        <Menu
          at={menu.value.at}
          items={[{ label: t("list.remove"), icon: "trash", onPick: () => menu.value && remove(menu.value.c) }]}
          onClose={() => {
            setTimeout(() => {
              menu.value = undefined;
            });
          }}
        />
      )}
    </nav>
  );
}

/** The names by which a conversation is found. */
export function namesOf(engine: Engine, c: Conversation): string[] {
  const person = c.kind === "person" ? engine.people.value.get(c.id) : undefined;
  return person ? [c.title, person.login, person.spelling, person.address ?? ""] : [c.title];
}

export function ConversationList({ engine, open, onOpen, onNew }: ListProps) {
  const typed = useSignal("");
  const all = engine.conversations.value;
  const text = typed.value.trim();
  const shown = text === "" ? all : best(all, (c) => namesOf(engine, c), text);
  return (
    <>
      <div class="side-head">
        <label class="side-search">
          <Icon name="search" size={16} />
          <input
            type="search"
            value={typed.value}
            placeholder={t("list.filter")}
            aria-label={t("list.filter")}
            onInput={(e) => {
              typed.value = e.currentTarget.value;
            }}
            onKeyDown={(e) => {
              const first = shown[0];
              if (e.key === "Enter" && !e.isComposing && first && text !== "") {
                typed.value = "";
                onOpen(first.key);
              } else if (e.key === "Escape" && text !== "") {
                e.stopPropagation();
                typed.value = "";
              }
            }}
          />
        </label>
        <IconButton icon="plus" label={t("list.new")} onClick={onNew} />
      </div>
      {all.length === 0 ? (
        <Empty icon="chat" title={t("list.empty")} text={t("list.emptyText")}>
          <Button kind="primary" onClick={onNew}>
            {t("list.new")}
          </Button>
        </Empty>
      ) : shown.length === 0 ? (
        <Empty icon="search" title={t("list.none", { text })} />
      ) : (
        <Rows engine={engine} all={shown} open={open} onOpen={onOpen} />
      )}
    </>
  );
}
