import { useState } from "preact/hooks";
import type { Chat } from "../chat/model";
import { t } from "../i18n";
import { Dialog, Icon, IconButton, pictureBroke, pictureOf, report, Spinner } from "../kit";

async function download(chat: Chat, path: string): Promise<void> {
  const a = document.createElement("a");
  a.href = await chat.engine.picture(path);
  a.download = path.slice(path.lastIndexOf("/") + 1) || "picture";
  a.click();
}

function Large({ chat, path }: { chat: Chat; path: string }) {
  const [zoomed, zoom] = useState(false);
  const url = pictureOf(chat.engine, path).value;
  if (url === "loading") {
    return <Spinner size={32} />;
  }
  if (url === "failed") {
    return (
      <p class="picture-failed">
        <Icon name="picture" size={32} />
        {t("picture.failed")}
      </p>
    );
  }
  return (
    <button
      type="button"
      class={zoomed ? "viewer-picture zoomed" : "viewer-picture"}
      aria-label={t("picture.zoom")}
      onClick={() => zoom(!zoomed)}
    >
      <img src={url} alt={t("picture.alt")} onError={() => pictureBroke(chat.engine, path)} />
    </button>
  );
}

/** The pictures of a conversation, one at a time, on the whole screen. */
export function Viewer({ chat }: { chat: Chat }) {
  const shown = chat.shown.value;
  if (!shown) {
    return null;
  }
  const all = chat.pictures.value;
  const now = all.findIndex((p) => p.messageKey === shown.messageKey && p.path === shown.path);
  const step = (by: number) => {
    const next = all[now + by];
    if (next) {
      chat.shown.value = next;
    }
  };
  const close = () => {
    chat.shown.value = undefined;
  };
  const keys = (e: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (by !== undefined) {
      e.preventDefault();
      step(by);
    }
  };
  return (
    <Dialog
      title={t("picture.viewer", { n: now + 1, count: all.length })}
      bare
      class="viewer"
      onClose={close}
      onKeyDown={keys}
    >
      <div class="viewer-box">
        <header class="viewer-head">
          <span>{now < 0 ? "" : `${now + 1} / ${all.length}`}</span>
          <IconButton icon="download" label={t("save")} onClick={() => download(chat, shown.path).catch(report)} />
          <IconButton icon="close" label={t("close")} onClick={close} />
        </header>
        <div class="viewer-stage">
          <Large key={shown.path} chat={chat} path={shown.path} />
        </div>
        <IconButton
          icon="left"
          class="viewer-left"
          label={t("picture.previous")}
          disabled={now <= 0}
          onClick={() => step(-1)}
        />
        <IconButton
          icon="right"
          class="viewer-right"
          label={t("picture.next")}
          disabled={now < 0 || now >= all.length - 1}
          onClick={() => step(1)}
        />
      </div>
    </Dialog>
  );
}
