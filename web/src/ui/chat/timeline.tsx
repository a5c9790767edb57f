import { useSignalEffect } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { dayLabel } from "../format";
import { t } from "../i18n";
import { Badge, Empty, Icon, Menu, Spinner } from "../kit";
import { discreet, nameOf } from "../names";
import { inFront } from "../shell/front";
import { menuFor } from "./actions";
import { MessageView } from "./message";
import type { Chat } from "./model";
import type { Row } from "./rows";

/** Older messages are asked for when this little (pixels) is left above the screen. */
const fetchAt = 1500;

function Head({ chat }: { chat: Chat }) {
  const { atBegin, loading, messages } = chat.timeline;
  return (
    <div class="head-row">
      {loading.value ? (
        <span class="head-loading">
          <Spinner size={16} />
          {t("chat.older")}
        </span>
      ) : chat.olderFailed.value ? (
        <span>
          {t("chat.olderFailed")}{" "}
          <button type="button" class="link" onClick={() => chat.older()}>
            {t("retry")}
          </button>
        </span>
      ) : (
        atBegin.value && messages.value.length > 0 && <span>{t("chat.begin")}</span>
      )}
    </div>
  );
}

function RowView({ chat, row }: { chat: Chat; row: Row }) {
  switch (row.kind) {
    case "head":
      return <Head chat={chat} />;
    case "day":
      return (
        <div class="day-row">
          <span>{dayLabel(row.time)}</span>
        </div>
      );
    case "new":
      return (
        <div class="new-row">
          <span>{t("chat.new")}</span>
        </div>
      );
    case "message":
      return <MessageView chat={chat} message={row.message} first={row.first} last={row.last} />;
  }
}

/** Reads out what comes in the open conversation, and counts what comes below the screen. */
function useArrivals(chat: Chat): string {
  const [said, say] = useState("");
  const last = useRef<number | undefined>(undefined);
  useSignalEffect(() => {
    const messages = chat.timeline.messages.value;
    const newest = messages.reduce((n, m) => Math.max(n, m.id), 0);
    const since = last.current;
    last.current = newest;
    if (since === undefined || newest <= since) {
      return;
    }
    const fresh = messages.filter((m) => m.id > since && !m.mine);
    const one = fresh.at(-1);
    if (one && since > 0) {
      if (!inFront.peek()) {
        chat.missed(since);
      }
      say(`${nameOf(chat.engine, one.from, one.fromAddress)}: ${discreet(one)}`);
      if (!chat.view.atEnd.peek()) {
        chat.below.value += fresh.length;
      }
    }
  });
  useSignalEffect(() => {
    if (chat.view.atEnd.value) {
      chat.below.value = 0;
    }
  });
  useSignalEffect(() => {
    if (inFront.value) {
      chat.seen();
    }
  });
  useEffect(() => {
    // What was read out is not left in the document, where it might outlive its message.
    const timer = setTimeout(() => say(""), 1500);
    return () => clearTimeout(timer);
  }, [said]);
  return said;
}

function keys(chat: Chat, e: KeyboardEvent): void {
  const by = { ArrowUp: -1, ArrowDown: 1 }[e.key];
  const message = chat.timeline.messages.peek().find((m) => m.key === chat.active.peek());
  if (e.ctrlKey || e.metaKey || e.altKey) {
    return;
  }
  if (by !== undefined) {
    e.preventDefault();
    chat.move(by);
  } else if (e.key === "End") {
    e.preventDefault();
    chat.view.toEnd();
  } else if (e.key.toLowerCase() === "r" && message && message.id > 0 && message.state === "live") {
    e.preventDefault();
    chat.replyTo.value = message;
  }
}

function ToEnd({ chat }: { chat: Chat }) {
  if (chat.view.atEnd.value) {
    return null;
  }
  const n = chat.below.value;
  return (
    <button
      type="button"
      class="to-end"
      aria-label={n > 0 ? t("chat.toEndNew", { n }) : t("chat.toEnd")}
      title={t("chat.toEnd")}
      onClick={() => chat.view.toEnd()}
    >
      <Icon name="down" />
      <Badge n={n} />
    </button>
  );
}

function MessageMenu({ chat }: { chat: Chat }) {
  const menu = chat.menu.value;
  if (!menu) {
    return null;
  }
  const close = () => {
    chat.menu.value = undefined;
  };
  return (
    <Menu
      key={menu.message.key}
      at={menu.at}
      items={menuFor(chat, menu.message)}
      label={t("msg.actions")}
      onClose={close}
    />
  );
}

/** Fetches more and puts the screen right after every rendering. */
function useLayout(chat: Chat, shownRows: readonly Row[]) {
  const scroller = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLDivElement>(null);
  const older = () => {
    // After a failure not by itself: the server would be asked again with every pixel.
    if (chat.view.fromTop() <= fetchAt && !chat.olderFailed.peek()) {
      chat.older();
    }
  };
  useLayoutEffect(() => {
    if (!scroller.current || !body.current) {
      return;
    }
    chat.perLine.value = Math.max(20, Math.round(Math.min(640, scroller.current.clientWidth * 0.7) / 8));
    return chat.view.attach(scroller.current, body.current);
  }, [chat]);
  useLayoutEffect(() => chat.follow(), [chat]);
  useLayoutEffect(() => {
    chat.view.setRows(chat.rows.peek());
    chat.view.settle();
    if (!chat.begun.peek() && chat.timeline.messages.peek().length > 0) {
      chat.begin();
      chat.begun.value = true;
    }
  });
  useEffect(() => {
    older();
  }, [chat, shownRows]);
  return { scroller, body, older };
}

/** The messages of a conversation. Only those near the screen are in the document, however many there are. */
export function TimelineView({ chat, name }: { chat: Chat; name: string }) {
  const rows = chat.rows.value;
  chat.view.setRows(rows);
  const { first, last } = chat.view.range.value;
  const { scroller, body, older } = useLayout(chat, rows);
  const said = useArrivals(chat);
  const { messages, atBegin, loading } = chat.timeline;
  const nothing = messages.value.length === 0;
  return (
    <div class="timeline">
      <div
        ref={scroller}
        class="scroller"
        role="log"
        aria-label={t("chat.log", { name })}
        aria-live="off"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard
        tabIndex={0}
        onScroll={() => {
          chat.view.scrolled();
          older();
        }}
        onKeyDown={(e) => keys(chat, e)}
      >
        <div ref={body} class="rows">
          <div class="gap" />
          {rows.slice(first, last).map((row) => (
            <div key={row.key} class="row-box" data-row={row.key}>
              <RowView chat={chat} row={row} />
            </div>
          ))}
          <div class="gap" />
        </div>
      </div>
      {nothing && atBegin.value && !loading.value && (
        <div class="timeline-empty">
          <Empty icon="chat" title={t("chat.empty")} />
        </div>
      )}
      <ToEnd chat={chat} />
      <MessageMenu chat={chat} />
      <div class="sr" aria-live="polite">
        {said}
      </div>
    </div>
  );
}
