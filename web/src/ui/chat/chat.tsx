import { useSignalEffect } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Conversation, ConversationKey, Engine } from "../../engine/api";
import { Composer } from "../compose/composer";
import { filesOf, Stage } from "../compose/staged";
import { t } from "../i18n";
import { Avatar, Icon, IconButton, Presence } from "../kit";
import { Viewer } from "../media/viewer";
import { faceOf, nameOf } from "../names";
import { inFront } from "../shell/front";
import { FindBar } from "./find";
import { Chat } from "./model";
import { TimelineView } from "./timeline";

interface ChatProps {
  engine: Engine;
  conversation: Conversation;
  details: boolean;
  onBack: () => void;
  onDetails: () => void;
}

/** Under the name: who writes, else presence or the number of members. */
function Subtitle({ engine, conversation: c }: { engine: Engine; conversation: Conversation }) {
  const writer = c.typing[0];
  if (writer !== undefined) {
    const text = c.kind === "group" ? t("list.typingWho", { name: nameOf(engine, writer) }) : t("list.typing");
    return <span class="chat-typing">{text}</span>;
  }
  if (c.kind === "group") {
    const group = engine.groups.value.get(c.id);
    return <span>{group ? (group.gone ? t("chat.gone") : t("chat.members", { n: group.members.length })) : ""}</span>;
  }
  const person = engine.people.value.get(c.id);
  if (!person) {
    return null;
  }
  // Of somebody of this office it is unknown only until the server has answered.
  const known = person.presence !== "unknown" || person.remote;
  const state = person.left ? t("presence.left") : known ? t(`presence.${person.presence}`) : "";
  return (
    <>
      {!person.left && known && <Presence value={person.presence} />}
      <span class="chat-about">
        {[state, person.remote ? person.address : "", person.sign].filter(Boolean).join(" · ")}
      </span>
    </>
  );
}

function Head({ engine, conversation: c, details, onBack, onDetails, chat }: ChatProps & { chat: Chat }) {
  return (
    <header class="chat-head">
      <IconButton icon="back" class="chat-back" label={t("back")} onClick={onBack} />
      <button type="button" class="chat-who" onClick={onDetails} aria-expanded={details} title={t("chat.details")}>
        <Avatar engine={engine} name={c.title} id={c.id} path={faceOf(engine, c)} box={36} group={c.kind === "group"} />
        <span class="chat-names">
          <span class="chat-name">
            <h1>{c.title}</h1>
            {c.remote && <Icon name="building" size={14} />}
            {c.muted && <Icon name="bellOff" size={14} />}
          </span>
          <span class="chat-sub">
            <Subtitle engine={engine} conversation={c} />
          </span>
        </span>
      </button>
      <IconButton
        icon="search"
        label={t("chat.search")}
        pressed={chat.finding.value}
        onClick={() => {
          chat.toggleFind();
        }}
      />
      <IconButton
        icon={c.kind === "group" ? "group" : "person"}
        label={t("chat.details")}
        pressed={details}
        onClick={onDetails}
      />
    </header>
  );
}

/** Shows that something can be dropped, and takes it. */
function useDrop(chat: Chat, stage: Stage) {
  const [over, setOver] = useState(false);
  const carries = (e: DragEvent) => e.dataTransfer?.types.includes("Files") ?? false;
  return {
    over,
    events: {
      onDragOver: (e: DragEvent) => {
        if (carries(e)) {
          e.preventDefault();
          setOver(true);
        }
      },
      onDragLeave: (e: DragEvent) => {
        if (!(e.currentTarget as Element).contains(e.relatedTarget as Node | null)) {
          setOver(false);
        }
      },
      onDrop: (e: DragEvent) => {
        if (carries(e)) {
          e.preventDefault();
          setOver(false);
          const dropped = filesOf(e.dataTransfer);
          stage.add(dropped.length > 0 ? dropped : (e.dataTransfer?.files ?? []), chat.engine.server().maxUpload);
        }
      },
    },
  };
}

/** Tells the engine what is being read: a conversation at its end, in a window that is in front. */
function useReading(engine: Engine, key: ConversationKey, chat: Chat): void {
  useSignalEffect(() => {
    engine.show(inFront.value && chat.begun.value && chat.view.atEnd.value ? key : undefined);
  });
  useEffect(() => () => engine.show(undefined), [chat]);
}

/** One conversation: head, messages, the box to write in. Made anew for each. */
export function ChatView(props: ChatProps) {
  const { engine, conversation: c } = props;
  const chat = useMemo(() => new Chat(engine, c.key), []);
  const stage = useMemo(() => new Stage(), []);
  const { over, events } = useDrop(chat, stage);
  useReading(engine, c.key, chat);
  useEffect(() => {
    if (c.kind === "person") {
      engine.watch([c.id]);
    }
  }, [c.id]);
  const gone = c.kind === "group" && engine.groups.value.get(c.id)?.gone;
  return (
    <section
      class="chat"
      aria-label={t("chat.log", { name: c.title })}
      {...events}
      onKeyDown={(e) => {
        if ((e.ctrlKey || e.metaKey) && !e.shiftKey && !e.altKey && e.key.toLowerCase() === "f") {
          e.preventDefault();
          chat.finding.value = true;
        }
      }}
    >
      <Head {...props} chat={chat} />
      {chat.finding.value && <FindBar chat={chat} />}
      <TimelineView chat={chat} name={c.title} />
      {gone ? <p class="chat-gone">{t("chat.gone")}</p> : <Composer chat={chat} stage={stage} name={c.title} />}
      {over && (
        <div class="drop" aria-hidden="true">
          <Icon name="download" size={36} />
          <p class="drop-title">{t("compose.drop")}</p>
          <p>{t("compose.dropText")}</p>
        </div>
      )}
      <Viewer chat={chat} />
    </section>
  );
}
