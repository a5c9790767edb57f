import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Draft } from "../../engine/api";
import type { Chat } from "../chat/model";
import { written } from "../emoji";
import { span } from "../format";
import { t } from "../i18n";
import { Icon, IconButton, Menu, report } from "../kit";
import { nameOf, preview } from "../names";
import { sendKey } from "../prefs";
import { EmojiPicker } from "./emojipicker";
import { enterDoes } from "./keys";
import { Recording } from "./recording";
import { filesOf, type Stage } from "./staged";
import { TypingNotice } from "./typing";

const burnChoices = [10, 30, 60, 300, 3600, 86_400];

interface ComposerProps {
  chat: Chat;
  stage: Stage;
  name: string;
}

/** What the next message answers. */
function ReplyBar({ chat }: { chat: Chat }) {
  const m = chat.replyTo.value;
  if (!m) {
    return null;
  }
  const name = m.mine ? t("msg.you") : nameOf(chat.engine, m.from, m.fromAddress);
  return (
    <div class="reply-bar">
      <Icon name="reply" size={16} />
      <span class="reply-about">
        <span class="reply-name">{t("compose.replyTo", { name })}</span>
        <span class="reply-text">{preview(m)}</span>
      </span>
      <IconButton
        icon="close"
        size={16}
        label={t("compose.replyCancel")}
        onClick={() => {
          chat.replyTo.value = undefined;
        }}
      />
    </div>
  );
}

function StageBar({ stage }: { stage: Stage }) {
  if (stage.files.value.length === 0) {
    return null;
  }
  return (
    <ul class="stage">
      {stage.files.value.map((f, i) => (
        <li key={f.id} class={f.url ? "staged" : "staged staged-file"}>
          {f.url ? (
            <img src={f.url} alt={t("compose.picture", { n: i + 1 })} />
          ) : (
            <>
              <Icon name="file" size={18} />
              <span class="staged-name">{f.file.name}</span>
            </>
          )}
          <IconButton
            icon="close"
            size={14}
            label={f.url ? t("compose.removePicture") : `${t("remove")}: ${f.file.name}`}
            onClick={() => stage.remove(f.id)}
          />
        </li>
      ))}
    </ul>
  );
}

/** The text, kept as a draft of the engine, and its box, as high as the text. */
function useText(chat: Chat) {
  const { engine, key } = chat;
  const box = useRef<HTMLTextAreaElement>(null);
  const text = useSignal(engine.conversations.peek().find((c) => c.key === key)?.draft ?? "");
  const notice = useMemo(() => new TypingNotice((w) => engine.typing(key, w)), [chat]);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const grow = () => {
    if (box.current) {
      box.current.style.height = "auto";
      box.current.style.height = `${box.current.scrollHeight}px`;
    }
  };
  useLayoutEffect(grow, [chat, text.value]);
  const change = (value: string, byHand = true) => {
    text.value = value;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => engine.saveDraft(key, value), 300);
    if (byHand) {
      notice.changed(value);
    }
  };
  useEffect(
    () => () => {
      clearTimeout(timer.current);
      engine.saveDraft(key, text.peek());
      notice.stop();
    },
    [chat],
  );
  /** Puts something where the cursor is, so that undoing works. */
  const insert = (piece: string) => {
    box.current?.focus();
    if (!document.execCommand("insertText", false, piece)) {
      change(text.peek() + piece);
    }
  };
  return { box, text, change, insert, notice };
}

/** Sends what is written and staged. What fails is shown as a failed message by the engine, or said here. */
function useSend(chat: Chat, stage: Stage, input: ReturnType<typeof useText>, burn: number) {
  return () => {
    const text = input.text.peek().trim();
    const { pictures, files } = stage.take();
    const { engine, key } = chat;
    if (text === "" && pictures.length === 0 && files.length === 0) {
      return;
    }
    if (text !== "" || pictures.length > 0) {
      const replyTo = chat.replyTo.peek()?.id;
      const draft: Draft = {
        text: written(text),
        ...(replyTo ? { replyTo } : {}),
        ...(burn > 0 ? { burnSeconds: burn } : {}),
      };
      engine.send(key, pictures.length > 0 ? { ...draft, pictures } : draft).catch(report);
    }
    for (const file of files) {
      engine.sendFile(key, file, ...(burn > 0 ? [burn] : [])).catch(report);
    }
    input.change("", false);
    input.notice.stop();
    engine.saveDraft(key, "");
    chat.replyTo.value = undefined;
    chat.view.toEnd();
    input.box.current?.focus();
  };
}

function BurnButton({ value, onPick }: { value: number; onPick: (seconds: number) => void }) {
  const [at, setAt] = useState<Element>();
  const label = value > 0 ? t("compose.burnOn", { time: span(value) }) : t("compose.burn");
  return (
    <>
      <button
        type="button"
        class={`icon-button icon-button-quiet burn-button ${value > 0 ? "burn-button-on" : ""}`}
        aria-label={label}
        title={label}
        aria-haspopup="menu"
        onClick={(e) => setAt(at ? undefined : e.currentTarget)}
      >
        <Icon name="flame" />
        {value > 0 && <span>{span(value)}</span>}
      </button>
      {at && (
        <Menu
          at={at}
          label={t("compose.burn")}
          items={[0, ...burnChoices].map((s) => ({
            label: s === 0 ? t("compose.burnOff") : span(s),
            hint: s === value ? "✓" : "",
            onPick: () => onPick(s),
          }))}
          onClose={() => setAt(undefined)}
        />
      )}
    </>
  );
}

function EmojiButton({ onPick }: { onPick: (emoji: string) => void }) {
  const [at, setAt] = useState<Element>();
  return (
    <>
      <IconButton
        icon="smile"
        label={t("compose.emoji")}
        expanded={at !== undefined}
        onClick={(e) => setAt(at ? undefined : e.currentTarget)}
      />
      {at && <EmojiPicker at={at} onPick={onPick} onClose={() => setAt(undefined)} />}
    </>
  );
}

function AttachButton({ chat, stage }: { chat: Chat; stage: Stage }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <IconButton icon="clip" label={t("compose.attach")} onClick={() => input.current?.click()} />
      <input
        ref={input}
        type="file"
        multiple
        hidden
        aria-label={t("compose.attach")}
        onChange={(e) => {
          stage.add(e.currentTarget.files ?? [], chat.engine.server().maxUpload);
          e.currentTarget.value = "";
        }}
      />
    </>
  );
}

function TextBox({
  chat,
  stage,
  name,
  input,
  onSend,
}: ComposerProps & { input: ReturnType<typeof useText>; onSend: () => void }) {
  const composing = useRef(false);
  const hint = sendKey.value === "enter" ? t("compose.enterHint") : t("compose.ctrlEnterHint");
  return (
    <textarea
      ref={input.box}
      class="compose-text"
      rows={1}
      value={input.text.value}
      placeholder={t("compose.placeholder")}
      aria-label={t("compose.label", { name })}
      title={hint}
      dir="auto"
      enterkeyhint={sendKey.value === "enter" ? "send" : "enter"}
      onInput={(e) => input.change(e.currentTarget.value)}
      onCompositionStart={() => {
        composing.current = true;
      }}
      onCompositionEnd={(e) => {
        composing.current = false;
        input.change(e.currentTarget.value);
      }}
      onPaste={(e) => {
        const files = filesOf(e.clipboardData);
        if (files.length > 0) {
          e.preventDefault();
          stage.add(files, chat.engine.server().maxUpload);
        }
      }}
      onBlur={() => input.notice.stop()}
      onKeyDown={(e) => {
        const does = enterDoes(e, composing.current, sendKey.value);
        if (does !== "default") {
          e.preventDefault();
          does === "send" ? onSend() : input.insert("\n");
        } else if (e.key === "ArrowUp" && input.text.peek() === "" && !e.ctrlKey && !e.altKey && !e.metaKey) {
          e.preventDefault();
          chat.move(0);
        }
      }}
    />
  );
}

/** Where messages are written. */
export function Composer({ chat, stage, name }: ComposerProps) {
  const input = useText(chat);
  const [burn, setBurn] = useState(0);
  const [recording, setRecording] = useState(false);
  const send = useSend(chat, stage, input, burn);
  const person = chat.key.startsWith("u");
  const empty = input.text.value.trim() === "" && stage.files.value.length === 0;
  useEffect(() => {
    // Not on touch screens: the keyboard would cover what was just opened.
    if (matchMedia("(pointer: fine)").matches) {
      input.box.current?.focus({ preventScroll: true });
    }
  }, [chat]);
  useEffect(() => {
    if (chat.replyTo.value) {
      input.box.current?.focus();
    }
  }, [chat.replyTo.value]);
  const voice = (blob: Blob, seconds: number) => {
    chat.engine.sendVoice(chat.key, blob, seconds).catch(report);
    chat.view.toEnd();
  };
  return (
    <div class="composer">
      <ReplyBar chat={chat} />
      <StageBar stage={stage} />
      {recording ? (
        <Recording onDone={() => setRecording(false)} onVoice={voice} />
      ) : (
        <div class="compose-row">
          <AttachButton chat={chat} stage={stage} />
          <EmojiButton onPick={input.insert} />
          {person && <BurnButton value={burn} onPick={setBurn} />}
          <TextBox chat={chat} stage={stage} name={name} input={input} onSend={send} />
          {empty ? (
            <IconButton icon="mic" label={t("compose.voice")} onClick={() => setRecording(true)} />
          ) : (
            <IconButton icon="send" kind="primary" label={t("compose.send")} onClick={send} />
          )}
        </div>
      )}
    </div>
  );
}
