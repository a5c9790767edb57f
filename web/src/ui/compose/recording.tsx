import { useEffect, useRef, useState } from "preact/hooks";
import { minutes } from "../format";
import { t } from "../i18n";
import { IconButton, Spinner, toast } from "../kit";
import { Recorder, recordingType } from "./recorder";

function complaint(thrown: unknown): string {
  const name = thrown instanceof DOMException ? thrown.name : "";
  return t(name === "NotFoundError" ? "voice.none" : name === "NotAllowedError" ? "voice.denied" : "voice.unsupported");
}

interface RecordingProps {
  onDone: () => void;
  onVoice: (voice: Blob, seconds: number) => void;
}

function useRecorder(onDone: () => void) {
  const [recorder, setRecorder] = useState<Recorder>();
  const ended = useRef(false);
  useEffect(() => {
    let made: Recorder | undefined;
    const type = recordingType();
    if (!type || !navigator.mediaDevices) {
      toast(t("voice.unsupported"), { kind: "error" });
      onDone();
      return;
    }
    Recorder.start(type).then(
      (r) => {
        made = r;
        if (ended.current) {
          r.cancel();
        } else {
          setRecorder(r);
        }
      },
      (thrown) => {
        toast(complaint(thrown), { kind: "error" });
        onDone();
      },
    );
    return () => {
      ended.current = true;
      made?.cancel();
    };
  }, []);
  return recorder;
}

/** In the place of the text box while one speaks: time, level, discard, send. */
export function Recording({ onDone, onVoice }: RecordingProps) {
  const recorder = useRecorder(onDone);
  const send = async () => {
    if (!recorder) {
      return;
    }
    if (recorder.seconds.peek() < 1) {
      toast(t("voice.short"));
      return;
    }
    const { voice, seconds } = await recorder.finish();
    onDone();
    onVoice(voice, seconds);
  };
  const level = recorder?.level.value ?? 0;
  return (
    <div
      class="recording"
      role="toolbar"
      aria-label={t("voice.recording")}
      onKeyDown={(e) => {
        if (e.key === "Escape") {
          e.stopPropagation();
          onDone();
        }
      }}
    >
      <IconButton icon="trash" label={t("voice.cancel")} onClick={onDone} />
      {recorder ? <span class="recording-dot" /> : <Spinner size={16} />}
      <span class="recording-time" role="timer">
        {minutes(recorder?.seconds.value ?? 0)}
      </span>
      <span class="recording-level" aria-hidden="true">
        {Array.from({ length: 24 }, (_, i) => (
          <span key={`${i}`} class={i < level * 24 ? "on" : ""} />
        ))}
      </span>
      <IconButton icon="send" kind="primary" label={t("voice.send")} disabled={!recorder} onClick={() => void send()} />
    </div>
  );
}
