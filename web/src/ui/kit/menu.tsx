import { useLayoutEffect, useRef } from "preact/hooks";
import { Icon, type IconName } from "./icon";

export interface MenuItem {
  label: string;
  icon?: IconName;
  hint?: string; // its keys
  danger?: boolean;
  disabled?: boolean;
  onPick: () => void;
}

export type Place = Element | { x: number; y: number };

/** Where a box of this size goes so that it stays on screen, beside a point or below an element. */
export function placed(at: Place, box: { width: number; height: number }, screen: { width: number; height: number }) {
  const rim = 8;
  const r = "getBoundingClientRect" in at ? at.getBoundingClientRect() : undefined;
  const x = r ? r.left : (at as { x: number }).x;
  const below = r ? r.bottom + 4 : (at as { y: number }).y;
  const above = r ? r.top - 4 - box.height : below - box.height;
  const top = below + box.height + rim <= screen.height || above < rim ? below : above;
  return {
    left: Math.max(rim, Math.min(x, screen.width - box.width - rim)),
    top: Math.max(rim, Math.min(top, screen.height - box.height - rim)),
  };
}

interface MenuProps {
  at: Place;
  items: readonly MenuItem[];
  label?: string;
  onClose: () => void;
}

/** A menu in the browser's top layer, so that no scrolling box cuts it off. */
export function Menu({ at, items, label, onClose }: MenuProps) {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const menu = ref.current;
    if (!menu) {
      return;
    }
    const before = document.activeElement;
    menu.showPopover();
    const box = menu.getBoundingClientRect();
    const spot = placed(at, box, { width: innerWidth, height: innerHeight });
    menu.style.left = `${spot.left}px`;
    menu.style.top = `${spot.top}px`;
    menu.querySelector<HTMLElement>("button:not(:disabled)")?.focus({ preventScroll: true });
    const outside = (e: Event) => {
      if (!menu.contains(e.target as Node)) {
        onClose();
      }
    };
    document.addEventListener("pointerdown", outside, true);
    addEventListener("blur", onClose);
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      removeEventListener("blur", onClose);
      if (
        before instanceof HTMLElement &&
        (document.activeElement === document.body || menu.contains(document.activeElement))
      ) {
        before.focus({ preventScroll: true });
      }
    };
  }, []);
  const move = (e: KeyboardEvent) => {
    const buttons = [...(ref.current?.querySelectorAll<HTMLElement>("button:not(:disabled)") ?? [])];
    const now = buttons.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: buttons.length - 1 }[e.key];
    if (to !== undefined) {
      e.preventDefault();
      buttons[(to + buttons.length) % buttons.length]?.focus();
    } else if (e.key === "Escape" || e.key === "Tab") {
      e.preventDefault();
      onClose();
    }
    e.stopPropagation();
  };
  return (
    <div ref={ref} class="menu" role="menu" aria-label={label} popover="manual" onKeyDown={move}>
      {items.map((item) => (
        <button
          key={item.label}
          type="button"
          role="menuitem"
          class={`menu-item ${item.danger ? "menu-danger" : ""}`}
          disabled={item.disabled}
          onClick={() => {
            onClose();
            item.onPick();
          }}
        >
          {item.icon && <Icon name={item.icon} size={18} />}
          <span class="menu-label">{item.label}</span>
          {item.hint && <span class="menu-hint">{item.hint}</span>}
        </button>
      ))}
    </div>
  );
}
