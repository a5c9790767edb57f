import type { Message } from "../../engine/api";
import { reasonText, t } from "../i18n";
import { Icon, type IconName } from "../kit";

type Delivery = NonNullable<Message["delivery"]>;

const icons: Record<Delivery, IconName> = {
  sending: "clock",
  failed: "warn",
  sent: "check",
  pending: "clock",
  delayed: "clock",
  delivered: "checks",
  read: "checks",
  undeliverable: "warn",
};

/** What is known of an own message, in words. */
export function deliveryText(m: Message): string {
  const d = m.delivery ?? "sent";
  if (m.readBy) {
    return t("delivery.readBy", { n: m.readBy });
  }
  return (d === "failed" || d === "undeliverable") && m.reason
    ? t("delivery.why", { what: t(`delivery.${d}`), reason: reasonText(m.reason) })
    : t(`delivery.${d}`);
}

/** The mark behind the time; said in words at the end of a run, and wherever something is wrong. */
export function Mark({ message, last }: { message: Message; last: boolean }) {
  const d = message.delivery;
  if (!d) {
    return null;
  }
  const words =
    d === "delayed"
      ? t("delivery.delayedShort")
      : last && message.readBy
        ? t("delivery.readBy", { n: message.readBy })
        : last && d === "read"
          ? t("delivery.read")
          : undefined;
  const text = deliveryText(message);
  return (
    <span class={`mark mark-${message.readBy ? "read" : d}`} title={text}>
      <Icon name={message.readBy ? "checks" : icons[d]} size={14} />
      {words && <span aria-hidden="true">{words}</span>}
      <span class="sr">{text}</span>
    </span>
  );
}
