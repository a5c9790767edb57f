import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { classic, modern } from "../emoji";
import { t } from "../i18n";
import { Tabs } from "../kit";
import { placed } from "../kit/menu";

const store = "teamtalk.emoji";
const kept = 24;

function recent(): string[] {
  return [...new Intl.Segmenter().segment(localStorage.getItem(store) ?? "")].map((s) => s.segment);
}

function remember(emoji: string): void {
  localStorage.setItem(store, [emoji, ...recent().filter((e) => e !== emoji)].slice(0, kept).join(""));
}

type Page = "recent" | "classic" | keyof typeof modern;

function pageOf(page: Page): { emoji: string; name: string }[] {
  if (page === "classic") {
    return classic.map(([name, emoji]) => ({ emoji, name }));
  }
  return (page === "recent" ? recent() : modern[page]).map((emoji) => ({ emoji, name: emoji }));
}

interface PickerProps {
  at: Element;
  onPick: (emoji: string) => void;
  onClose: () => void;
}

/** Moves through a grid of buttons with the arrow keys. */
function walk(e: KeyboardEvent, columns: number): void {
  const buttons = [...(e.currentTarget as HTMLElement).querySelectorAll<HTMLButtonElement>(".emoji-grid button")];
  const now = buttons.indexOf(document.activeElement as HTMLButtonElement);
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[e.key];
  if (by !== undefined && now >= 0) {
    e.preventDefault();
    buttons[Math.max(0, Math.min(buttons.length - 1, now + by))]?.focus();
  }
}

function usePlace(at: Element, onClose: () => void) {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const box = ref.current;
    if (!box) {
      return;
    }
    box.showPopover();
    const r = box.getBoundingClientRect();
    const spot = placed(at, r, { width: innerWidth, height: innerHeight });
    box.style.left = `${spot.left}px`;
    box.style.top = `${Math.min(spot.top, at.getBoundingClientRect().top - r.height - 8)}px`;
    box.querySelector<HTMLElement>(".emoji-grid button")?.focus();
    const outside = (e: Event) => {
      if (!box.contains(e.target as Node) && !at.contains(e.target as Node)) {
        onClose();
      }
    };
    // The focus is in the text after a pick: Escape closes from there too.
    const closing = (e: KeyboardEvent) => {
      if (e.key === "Escape" && !e.isComposing) {
        e.preventDefault();
        e.stopPropagation();
        onClose();
      }
    };
    document.addEventListener("pointerdown", outside, true);
    document.addEventListener("keydown", closing, true);
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      document.removeEventListener("keydown", closing, true);
    };
  }, []);
  return ref;
}

export function EmojiPicker({ at, onPick, onClose }: PickerProps) {
  const [page, setPage] = useState<Page>(recent().length > 0 ? "recent" : "classic");
  const ref = usePlace(at, onClose);
  const pages: Page[] = ["recent", "classic", "faces", "hands", "things"];
  return (
    <div
      ref={ref}
      class="emoji-picker"
      role="dialog"
      aria-label={t("emoji.label")}
      popover="manual"
      onKeyDown={(e) => walk(e, 8)}
    >
      <Tabs
        label={t("emoji.label")}
        tabs={pages.map((id) => ({ id, label: t(`emoji.${id}`) }))}
        value={page}
        onPick={setPage}
      />
      <div class="emoji-grid">
        {pageOf(page).map(({ emoji, name }) => (
          <button
            key={emoji}
            type="button"
            aria-label={name}
            title={name}
            onClick={() => {
              remember(emoji);
              onPick(emoji);
            }}
          >
            {emoji}
          </button>
        ))}
      </div>
    </div>
  );
}
