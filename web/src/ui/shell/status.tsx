import type { Engine, Status } from "../../engine/api";
import { reasonText, t } from "../i18n";
import { Icon, type IconName, Spinner } from "../kit";
import { ticker } from "../ticker";

interface Said {
  text: string;
  hint?: string;
  icon?: IconName;
  retry?: boolean;
}

/** What there is to say about the connection; undefined: it is as it should be. */
export function sayStatus(s: Status, now: number): Said | undefined {
  switch (s.phase) {
    case "connecting":
      return { text: t("status.connecting") };
    case "queued":
      return { text: t("status.queued", { position: s.queue?.position ?? "…" }) };
    case "offline": {
      const reason = s.reason ? reasonText(s.reason) : undefined;
      const hint = reason ? { hint: reason } : {};
      if (s.reason === "problem.replaced") {
        return { text: t("problem.replaced"), icon: "warn", retry: true };
      }
      const left = s.retryAt ? Math.max(0, Math.ceil((s.retryAt - now) / 1000)) : 0;
      const text = left > 0 ? t("status.offlineRetry", { seconds: left }) : t("status.offline");
      return { text, icon: "warn", retry: true, ...hint };
    }
    case "online":
      return s.stale ? { text: t("status.stale"), hint: t("status.staleHint"), icon: "lock" } : undefined;
    default:
      return undefined;
  }
}

/** One small line while the connection is not as it should be. Nothing waits for it: one can go on reading and writing. */
export function StatusPill({ engine }: { engine: Engine }) {
  const s = engine.status.value;
  const said = sayStatus(s, s.phase === "offline" && s.retryAt ? ticker.value : Date.now());
  return (
    <div class="status" role="status">
      {said && (
        <div class={`pill pill-${s.phase}`} title={said.hint}>
          {said.icon ? <Icon name={said.icon} size={14} /> : <Spinner size={14} />}
          <span>{said.text}</span>
          {said.retry && (
            <button type="button" class="link" onClick={() => engine.retryNow()}>
              {s.reason === "problem.replaced" ? t("status.here") : t("status.retry")}
            </button>
          )}
        </div>
      )}
    </div>
  );
}
