import { useRef } from "preact/hooks";
import type { Message } from "../../engine/api";
import { clock, fullTime, span } from "../format";
import { t } from "../i18n";
import { Avatar, Icon, IconButton, report } from "../kit";
import { nameOf, preview } from "../names";
import { ticker } from "../ticker";
import { canRetry, menuFor } from "./actions";
import { deliveryText, Mark } from "./delivery";
import type { Chat } from "./model";
import { PartView } from "./parts";

interface MessageProps {
  chat: Chat;
  message: Message;
  first: boolean;
  last: boolean;
}

function author(chat: Chat, m: Message): string {
  return m.mine ? t("msg.you") : nameOf(chat.engine, m.from, m.fromAddress);
}

/** The quoted message; it leads there. */
function Quote({ chat, id }: { chat: Chat; id: number }) {
  const original = chat.byId.value.get(id);
  return (
    <button type="button" class="quote" title={t("msg.original")} onClick={() => void chat.goToId(id)}>
      {original ? (
        <>
          <span class="quote-name">{author(chat, original)}</span>
          <span class="quote-text">{preview(original)}</span>
        </>
      ) : (
        <span class="quote-text">{t("msg.quoteUnknown")}</span>
      )}
    </button>
  );
}

/** How long there is left to read a message that burns. */
function Burn({ message }: { message: Message }) {
  const { burnSeconds = 0, burnsAt } = message;
  if (!burnsAt) {
    return (
      <span class="burn" title={t("msg.burnAfter", { time: span(burnSeconds) })}>
        <Icon name="flame" size={14} />
        {span(burnSeconds)}
      </span>
    );
  }
  const left = Math.max(0, (burnsAt - ticker.value) / 1000);
  return (
    <span class="burn burn-on" role="timer" aria-label={t("msg.burnIn", { time: span(left) })}>
      <Icon name="flame" size={14} />
      {span(left)}
    </span>
  );
}

/** Under a message that did not arrive: why, and what to do. */
function Trouble({ chat, message }: { chat: Chat; message: Message }) {
  return (
    <p class="trouble">
      <span>{deliveryText(message)}</span>
      {canRetry(message) && (
        <button type="button" class="link" onClick={() => void chat.engine.retry(chat.key, message.key).catch(report)}>
          {t("msg.retry")}
        </button>
      )}
      {message.delivery === "failed" && (
        <button type="button" class="link" onClick={() => chat.engine.discard(chat.key, message.key)}>
          {t("msg.discard")}
        </button>
      )}
    </p>
  );
}

/** A message without content any more. */
function Gone({ chat, message }: { chat: Chat; message: Message }) {
  const burned = message.state === "burned";
  const text = burned
    ? t("msg.burned")
    : message.mine
      ? t("msg.recalledMine")
      : t("msg.recalled", { name: author(chat, message) });
  return (
    <span class="gone">
      <Icon name={burned ? "flame" : "undo"} size={14} />
      {text}
    </span>
  );
}

/** Opens the menu with the right button, a long touch, or the keyboard. */
function useMenu(chat: Chat, message: Message) {
  const hold = useRef<ReturnType<typeof setTimeout>>(undefined);
  const open = (at: { x: number; y: number } | Element) => {
    if (menuFor(chat, message).length > 0) {
      chat.menu.value = { message, at };
    }
  };
  const cancel = () => clearTimeout(hold.current);
  return {
    open,
    events: {
      onContextMenu: (e: MouseEvent) => {
        // The browser's own menu stays where it is of use: on a link, and on text that was marked.
        if ((e.target as Element).closest("a") || !(getSelection()?.isCollapsed ?? true)) {
          return;
        }
        e.preventDefault();
        cancel();
        open({ x: e.clientX, y: e.clientY });
      },
      onPointerDown: (e: PointerEvent) => {
        if (e.pointerType === "touch") {
          cancel();
          hold.current = setTimeout(() => open({ x: e.clientX, y: e.clientY }), 450);
        }
      },
      onPointerUp: cancel,
      onPointerMove: cancel,
      onPointerCancel: cancel,
    },
  };
}

function Bubble({ chat, message, first, last }: MessageProps) {
  const group = chat.key.startsWith("g");
  const bad = message.delivery === "failed" || message.delivery === "undeliverable";
  // Beside anything but text the time has a line of its own.
  const block = message.parts.some((p) => p.kind !== "text" && p.kind !== "link");
  const media = message.parts.length > 0 && message.parts.every((p) => p.kind === "picture") && !message.replyTo;
  return (
    <div class="bubble-box">
      {group && first && !message.mine && (
        <p class="author">
          {author(chat, message)}
          {message.fromAddress && <span class="author-address">{message.fromAddress}</span>}
        </p>
      )}
      <div
        class={`bubble ${media ? "bubble-media" : block ? "bubble-block" : ""} ${message.highlighted ? "bubble-marked" : ""}`}
      >
        {message.highlighted && <span class="sr">{t("chat.highlight")}</span>}
        {message.replyTo !== undefined && message.replyTo > 0 && <Quote chat={chat} id={message.replyTo} />}
        {message.parts.map((part, i) => (
          <PartView key={i} chat={chat} message={message} part={part} />
        ))}
        <span class="meta">
          {message.burnSeconds !== undefined && message.burnSeconds > 0 && <Burn message={message} />}
          <time dateTime={new Date(message.time).toISOString()} title={fullTime(message.time)}>
            {clock(message.time)}
          </time>
          {message.mine && <Mark message={message} last={last} />}
        </span>
      </div>
      {bad && <Trouble chat={chat} message={message} />}
    </div>
  );
}

export function MessageView({ chat, message, first, last }: MessageProps) {
  const { open, events } = useMenu(chat, message);
  const group = chat.key.startsWith("g");
  const live = message.state === "live";
  const name = author(chat, message);
  const flash = chat.flash.value === message.key;
  const side = message.mine ? "msg-mine" : "msg-other";
  const tab = chat.active.value === message.key ? 0 : -1;
  return (
    <article
      class={`msg ${live ? side : "msg-gone"} ${first ? "msg-first" : ""} ${last ? "msg-last" : ""} ${flash ? "flash" : ""}`}
      data-id={message.id}
      data-key={message.key}
      data-state={message.state}
      data-delivery={message.delivery}
      data-mine={message.mine ? "" : undefined}
      aria-label={t("msg.from", { name, time: clock(message.time) })}
      tabIndex={tab}
      onFocus={() => {
        chat.active.value = message.key;
      }}
      onKeyDown={(e) => {
        if (
          e.target === e.currentTarget &&
          (e.key === "Enter" || e.key === "ContextMenu" || (e.shiftKey && e.key === "F10"))
        ) {
          e.preventDefault();
          open(e.currentTarget.querySelector(".bubble") ?? e.currentTarget);
        }
      }}
      {...events}
    >
      {live ? (
        <>
          {group && !message.mine && (
            <span class="msg-face">
              {first && (
                <Avatar
                  engine={chat.engine}
                  name={name}
                  id={message.from}
                  path={chat.engine.people.value.get(message.from)?.avatar}
                  box={28}
                />
              )}
            </span>
          )}
          <Bubble chat={chat} message={message} first={first} last={last} />
          <IconButton
            icon="more"
            size={18}
            class="msg-more"
            tabIndex={-1}
            label={t("msg.actions")}
            onClick={(e) => open(e.currentTarget)}
          />
        </>
      ) : (
        <Gone chat={chat} message={message} />
      )}
    </article>
  );
}
