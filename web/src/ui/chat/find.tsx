import { useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { IconButton, report } from "../kit";
import type { Chat } from "./model";

/** Search in what is loaded of the conversation; more can be loaded from here. */
export function FindBar({ chat }: { chat: Chat }) {
  const input = useRef<HTMLInputElement>(null);
  const { timeline, hits, hit, query } = chat;
  useLayoutEffect(() => {
    input.current?.focus();
    input.current?.select();
  }, []);
  const n = hits.value.indexOf(hit.value ?? "") + 1;
  const none = query.value.trim() !== "" && hits.value.length === 0;
  const text = none
    ? t("find.none")
    : hits.value.length > 0
      ? t("find.count", { n: n || "–", count: hits.value.length })
      : "";
  return (
    <search class="find">
      <input
        ref={input}
        class="field-input"
        type="search"
        value={query.value}
        placeholder={t("find.label")}
        aria-label={t("find.label")}
        onInput={(e) => {
          query.value = e.currentTarget.value;
          hit.value = undefined;
        }}
        onKeyDown={(e) => {
          if (e.key === "Enter" && !e.isComposing) {
            e.preventDefault();
            chat.step(e.shiftKey ? 1 : -1);
          } else if (e.key === "Escape") {
            e.stopPropagation();
            chat.closeFind();
          }
        }}
      />
      <span class="find-count" role="status">
        {text}
      </span>
      {query.value.trim() !== "" && !timeline.atBegin.value && (
        <button
          type="button"
          class="link"
          disabled={timeline.loading.value}
          onClick={() => timeline.older().catch(report)}
        >
          {timeline.loading.value ? t("loading") : t("find.older")}
        </button>
      )}
      <IconButton
        icon="up"
        size={18}
        label={t("find.previous")}
        disabled={hits.value.length === 0}
        onClick={() => chat.step(-1)}
      />
      <IconButton
        icon="down"
        size={18}
        label={t("find.next")}
        disabled={hits.value.length === 0}
        onClick={() => chat.step(1)}
      />
      <IconButton icon="close" size={18} label={t("close")} onClick={() => chat.closeFind()} />
    </search>
  );
}
