import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Engine, Part } from "../../engine/api";
import { minutes } from "../format";
import { t } from "../i18n";
import { IconButton, problemText, report, toast } from "../kit";

/** The one that plays: starting another one stops it. */
const playing = signal<HTMLAudioElement | undefined>(undefined);

function usePlayer(engine: Engine, path: string) {
  const audio = useRef<HTMLAudioElement>(undefined);
  const [on, setOn] = useState(false);
  const [at, setAt] = useState(0);
  useEffect(
    () => () => {
      audio.current?.pause();
    },
    [],
  );
  const prepare = async () => {
    const a = new Audio(await engine.media(path));
    a.preload = "auto";
    a.onplay = () => {
      if (playing.peek() !== a) {
        playing.peek()?.pause();
      }
      playing.value = a;
      setOn(true);
    };
    a.onpause = () => setOn(false);
    a.ontimeupdate = () => setAt(a.currentTime);
    a.onended = () => setAt(0);
    a.onerror = () => {
      audio.current = undefined; // the next try asks for the URL anew
    };
    audio.current = a;
    return a;
  };
  const toggle = async () => {
    try {
      const a = audio.current ?? (await prepare());
      await (a.paused ? a.play() : a.pause());
    } catch (thrown) {
      const broken = thrown instanceof DOMException && thrown.name === "NotSupportedError";
      toast(broken ? t("voice.cantPlay") : problemText(thrown), { kind: "error" });
      audio.current = undefined;
    }
  };
  const seek = (seconds: number) => {
    if (audio.current) {
      audio.current.currentTime = seconds;
    }
    setAt(seconds);
  };
  return { on, at, toggle, seek };
}

/** Plays a voice message. Its length is the message's: recordings made by browsers do not know their own. */
export function Voice({ engine, part }: { engine: Engine; part: Part & { kind: "voice" } }) {
  const { on, at, toggle, seek } = usePlayer(engine, part.path);
  const length = Math.max(1, part.seconds);
  return (
    <div class="voice">
      <IconButton
        icon={on ? "pause" : "play"}
        kind="primary"
        label={on ? t("voice.pause") : t("voice.play", { time: minutes(part.seconds) })}
        onClick={() => toggle()}
      />
      <input
        class="voice-seek"
        type="range"
        min={0}
        max={length}
        step={0.1}
        value={Math.min(at, length)}
        aria-label={t("voice.seek")}
        aria-valuetext={minutes(at)}
        onInput={(e) => seek(Number(e.currentTarget.value))}
      />
      <span class="voice-time">{minutes(at > 0 ? at : part.seconds)}</span>
      {!on && at === 0 && new Audio().canPlayType(part.type) === "" && (
        <IconButton
          icon="download"
          label={t("file.download", { name: t("part.voice") })}
          onClick={() =>
            engine
              .download({
                kind: "file",
                name: `voice.${part.type.includes("mp4") ? "m4a" : "webm"}`,
                sizeText: "",
                path: part.path,
              })
              .catch(report)
          }
        />
      )}
    </div>
  );
}
