import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { IconButton } from "./button";

interface DialogProps {
  title: string;
  onClose: () => void;
  footer?: ComponentChildren;
  wide?: boolean;
  bare?: boolean; // no head: the title is only read out
  class?: string;
  onKeyDown?: (e: KeyboardEvent) => void;
  children: ComponentChildren;
}

/** The browser's own modal dialog: it keeps the focus inside, closes with Esc, and gives the focus back. */
export function Dialog({ title, onClose, footer, wide, bare, children, ...rest }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    const dialog = ref.current;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement) {
        before.focus({ preventScroll: true });
      }
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={`dialog ${wide ? "dialog-wide" : ""} ${rest.class ?? ""}`}
      aria-labelledby={id}
      onKeyDown={rest.onKeyDown}
      onCancel={(e) => {
        e.preventDefault();
        onClose();
      }}
      onPointerDown={(e) => {
        if (e.target === ref.current) {
          onClose();
        }
      }}
    >
      <div class="dialog-box">
        {bare ? (
          <h2 class="sr" id={id}>
            {title}
          </h2>
        ) : (
          <header class="dialog-head">
            <h2 id={id}>{title}</h2>
            <IconButton icon="close" label={t("close")} onClick={onClose} />
          </header>
        )}
        <div class="dialog-body">{children}</div>
        {footer && <footer class="dialog-foot">{footer}</footer>}
      </div>
    </dialog>
  );
}
