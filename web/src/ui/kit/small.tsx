import type { ComponentChildren } from "preact";
import type { Person } from "../../engine/api";
import { t } from "../i18n";
import { Icon, type IconName } from "./icon";

export function Spinner({ size = 20 }: { size?: number }) {
  return (
    <svg class="spinner" width={size} height={size} viewBox="0 0 20 20" aria-hidden="true">
      <circle cx="10" cy="10" r="7.5" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="30 18" />
    </svg>
  );
}

/** The number of unread messages; nothing for none. */
export function Badge({ n, muted }: { n: number; muted?: boolean }) {
  if (n <= 0) {
    return null;
  }
  return (
    <span class={`badge ${muted ? "badge-muted" : ""}`}>
      <span aria-hidden="true">{n > 999 ? "999+" : n}</span>
      <span class="sr">{t("list.unread", { n })}</span>
    </span>
  );
}

/** Not by colour alone: online is filled, offline is a ring, and it has a name. */
export function Presence({ value }: { value: Person["presence"] }) {
  const label = t(`presence.${value}`);
  return <span class={`presence presence-${value}`} role="img" aria-label={label} title={label} />;
}

interface EmptyProps {
  icon: IconName;
  title: string;
  text?: string;
  children?: ComponentChildren;
}

export function Empty({ icon, title, text, children }: EmptyProps) {
  return (
    <div class="empty">
      <Icon name={icon} size={36} />
      <p class="empty-title">{title}</p>
      {text && <p class="empty-text">{text}</p>}
      {children}
    </div>
  );
}

interface TabsProps<T extends string> {
  label: string;
  tabs: readonly { id: T; label: string }[];
  value: T;
  onPick: (id: T) => void;
}

/** Switches what is below it; arrow keys move as everywhere. */
export function Tabs<T extends string>({ label, tabs, value, onPick }: TabsProps<T>) {
  const move = (e: KeyboardEvent) => {
    const step = e.key === "ArrowRight" ? 1 : e.key === "ArrowLeft" ? -1 : 0;
    const next = tabs[(tabs.findIndex((x) => x.id === value) + step + tabs.length) % tabs.length];
    if (step !== 0 && next) {
      e.preventDefault();
      onPick(next.id);
      const list = e.currentTarget as HTMLElement;
      requestAnimationFrame(() => list.querySelector<HTMLElement>("[aria-selected=true]")?.focus());
    }
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} onKeyDown={move}>
      {tabs.map((tab) => (
        <button
          key={tab.id}
          type="button"
          role="tab"
          class="tab"
          aria-selected={tab.id === value}
          tabIndex={tab.id === value ? 0 : -1}
          onClick={() => onPick(tab.id)}
        >
          {tab.label}
        </button>
      ))}
    </div>
  );
}
