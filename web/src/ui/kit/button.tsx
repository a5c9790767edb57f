import type { ComponentChildren, TargetedMouseEvent } from "preact";
import { Icon, type IconName } from "./icon";
import { Spinner } from "./small";

interface ButtonProps {
  kind?: "primary" | "plain" | "danger" | "quiet";
  icon?: IconName;
  busy?: boolean;
  disabled?: boolean;
  submit?: boolean;
  autoFocus?: boolean;
  class?: string;
  onClick?: (e: TargetedMouseEvent<HTMLButtonElement>) => void;
  children: ComponentChildren;
}

export function Button({ kind = "plain", icon, busy, disabled, submit, onClick, children, ...rest }: ButtonProps) {
  return (
    <button
      type={submit ? "submit" : "button"}
      class={`button button-${kind} ${rest.class ?? ""}`}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      autofocus={rest.autoFocus}
      onClick={onClick}
    >
      {busy ? <Spinner size={16} /> : icon && <Icon name={icon} size={16} />}
      <span>{children}</span>
    </button>
  );
}

interface IconButtonProps {
  icon: IconName;
  label: string;
  size?: number;
  pressed?: boolean;
  expanded?: boolean;
  disabled?: boolean;
  kind?: "quiet" | "primary" | "danger";
  class?: string;
  tabIndex?: number;
  onClick?: (e: TargetedMouseEvent<HTMLButtonElement>) => void;
}

/** A button that shows a picture only; its label is its name and its hint. */
export function IconButton({ icon, label, size = 20, pressed, expanded, kind = "quiet", ...rest }: IconButtonProps) {
  return (
    <button
      type="button"
      class={`icon-button icon-button-${kind} ${rest.class ?? ""}`}
      aria-label={label}
      title={label}
      aria-pressed={pressed}
      aria-expanded={expanded}
      disabled={rest.disabled}
      tabIndex={rest.tabIndex}
      onClick={rest.onClick}
    >
      <Icon name={icon} size={size} />
    </button>
  );
}
