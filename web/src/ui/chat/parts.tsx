import type { Message, Part } from "../../engine/api";
import { drawn, onlyEmoji } from "../emoji";
import { minutes } from "../format";
import { t } from "../i18n";
import { Icon, IconButton, pictureBroke, pictureOf, report, Spinner } from "../kit";
import { Voice } from "../media/voice";
import type { Chat } from "./model";
import { tokens } from "./text";

type Of<K extends Part["kind"]> = Part & { kind: K };

/** The text of a message; its line breaks are kept. A few emoji and nothing else are shown large. */
function Text({ text, query }: { text: string; query: string }) {
  const large = text.length < 64 && onlyEmoji(drawn(text)) > 0;
  return (
    <p class={large ? "text text-large" : "text"} dir="auto" data-text>
      {tokens(text, query).map((token, i) => {
        const key = `${i}${token.kind}`;
        if (token.kind === "link") {
          return (
            <a key={key} href={token.url} target="_blank" rel="noopener noreferrer nofollow">
              {token.text}
            </a>
          );
        }
        return token.kind === "mark" ? <mark key={key}>{token.text}</mark> : token.text;
      })}
    </p>
  );
}

const most = { width: 320, height: 280 };

/** The box of a picture: its own size, but no larger than fits a bubble, and no smaller than one can hit. */
export function boxOf(width: number | undefined, height: number | undefined): { width: number; height: number } {
  if (!width || !height) {
    return { width: 240, height: 180 };
  }
  const scale = Math.min(1, most.width / width, most.height / height);
  return { width: Math.max(48, Math.round(width * scale)), height: Math.max(40, Math.round(height * scale)) };
}

function Picture({ chat, message, part }: { chat: Chat; message: Message; part: Of<"picture"> }) {
  const url = pictureOf(chat.engine, part.path, 640).value;
  const box = boxOf(part.width, part.height);
  return (
    <button
      type="button"
      class="picture"
      style={{ width: `${box.width}px`, aspectRatio: `${box.width} / ${box.height}` }}
      aria-label={t("picture.open")}
      onClick={() => {
        chat.shown.value = { messageKey: message.key, path: part.path };
      }}
    >
      {url === "loading" ? (
        <Spinner />
      ) : url === "failed" ? (
        <span class="picture-failed">
          <Icon name="picture" />
          {t("picture.failed")}
        </span>
      ) : (
        <img
          src={url}
          alt={t("picture.alt")}
          draggable={false}
          decoding="async"
          onError={() => pictureBroke(chat.engine, part.path, 640)}
        />
      )}
    </button>
  );
}

/** The ending of a name, for the card; "file" for none. */
export function extension(name: string): string {
  const dot = name.lastIndexOf(".");
  const end = dot > 0 ? name.slice(dot + 1) : "";
  return end !== "" && end.length <= 5 ? end.toUpperCase() : "";
}

function File({ chat, message, part }: { chat: Chat; message: Message; part: Of<"file"> }) {
  const sending = message.progress !== undefined;
  const percent = Math.round((message.progress ?? 0) * 100);
  return (
    <div class="file">
      <span class="file-kind" aria-hidden="true">
        {extension(part.name) || <Icon name="file" size={18} />}
      </span>
      <span class="file-about">
        <span class="file-name" title={part.name}>
          {part.name}
        </span>
        <span class="file-size">
          {sending ? t("file.progress", { percent }) : part.sizeText}
          {part.task && ` · ${t("file.offline")}`}
        </span>
        {sending && <progress class="bar" max={100} value={percent} aria-label={part.name} />}
      </span>
      {sending ? (
        <IconButton
          icon="close"
          label={t("file.cancel")}
          onClick={() => chat.engine.cancelUpload(chat.key, message.key)}
        />
      ) : (
        (part.path || part.task) && (
          <IconButton
            icon="download"
            label={t("file.download", { name: part.name })}
            onClick={() => chat.engine.download(part).catch(report)}
          />
        )
      )}
    </div>
  );
}

/** Saves bytes under a name. */
export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** COMPAT: voice of the old clients is Speex, which no browser plays: it can be saved. */
function Speex({ message, part }: { message: Message; part: Of<"speex"> }) {
  const name = `voice-${message.id}.spx`;
  return (
    <div class="file">
      <span class="file-kind" aria-hidden="true">
        <Icon name="mic" size={18} />
      </span>
      <span class="file-about">
        <span class="file-name">{t("voice.speex", { time: minutes(part.seconds) })}</span>
        <span class="file-size">{t("voice.cantPlay")}</span>
      </span>
      <IconButton
        icon="download"
        label={t("file.download", { name })}
        onClick={() => save(new Blob([new Uint8Array(part.data)], { type: "audio/ogg" }), name)}
      />
    </div>
  );
}

export function PartView({ chat, message, part }: { chat: Chat; message: Message; part: Part }) {
  switch (part.kind) {
    case "text":
      return <Text text={part.text} query={chat.finding.value ? chat.query.value.trim().toLowerCase() : ""} />;
    case "link":
      return <Text text={part.url} query="" />;
    case "picture":
      return <Picture chat={chat} message={message} part={part} />;
    case "file":
      return <File chat={chat} message={message} part={part} />;
    case "voice":
      return <Voice engine={chat.engine} part={part} />;
    case "speex":
      return <Speex message={message} part={part} />;
  }
}
