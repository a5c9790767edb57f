import { t } from "../i18n";
import { Dialog } from "../kit";

/** The keys, in one place: "?" or F1. */
export function Help({ onClose }: { onClose: () => void }) {
  const keys: [string, string][] = [
    ["Ctrl K", t("keys.switch")],
    ["Alt ↑ ↓", t("keys.next")],
    ["Ctrl F", t("keys.find")],
    ["↑ ↓", t("keys.messages")],
    ["Enter", t("keys.menu")],
    ["R", t("keys.reply")],
    ["Esc", t("keys.close")],
    ["F1", t("keys.help")],
  ];
  return (
    <Dialog title={t("keys.title")} onClose={onClose}>
      <dl class="keys">
        {keys.map(([key, what]) => (
          <div key={key} class="keys-row">
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
