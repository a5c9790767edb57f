// A long list of rows of which only those on screen exist, for the mouse, the keyboard and screen readers: the list has the focus, and says which row is the
// active one.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { offsets, scrollFor, visible } from "./window";

export interface RowsProps<R> {
  id: string;
  role: "tree" | "listbox";
  label: string;
  rows: readonly R[];
  keyOf(row: R): string;
  heightOf(row: R): number;
  /** What a screen reader needs to know of the row beside its content. */
  aria(row: R, index: number): Record<string, string | number | boolean | undefined>;
  draw(row: R): ComponentChildren;
  onPick(row: R): void;
  /** Another key than those that move; true: it was of use. */
  onKey?(row: R, key: string): boolean;
  onSeen?(rows: readonly R[]): void;
  multiple?: boolean;
}

/** Pixels that are drawn above and below what is on screen. */
const beside = 240;

export function Rows<R>(props: RowsProps<R>) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [active, setActive] = useState<string>();
  const starts = useMemo(() => offsets(props.rows.map(props.heightOf)), [props.rows]);
  const found = active === undefined ? -1 : props.rows.findIndex((r) => props.keyOf(r) === active);
  const at = Math.max(found, 0);
  const span = visible(starts, view.top, view.height, beside);
  const drawn = props.rows.slice(span.first, span.last).map((row, i) => ({ row, index: span.first + i }));
  const activeRow = props.rows[at];
  if (activeRow !== undefined && (at < span.first || at >= span.last)) drawn.push({ row: activeRow, index: at });

  useLayoutEffect(() => {
    const el = box.current;
    if (!el) return;
    const look = () => setView({ top: el.scrollTop, height: el.clientHeight });
    look();
    const watcher = new ResizeObserver(look);
    watcher.observe(el);
    el.addEventListener("scroll", look, { passive: true });
    return () => {
      watcher.disconnect();
      el.removeEventListener("scroll", look);
    };
  }, []);
  useLayoutEffect(() => props.onSeen?.(props.rows.slice(span.first, span.last)), [props.rows, span.first, span.last]);

  const move = (index: number) => {
    const to = Math.min(Math.max(index, 0), props.rows.length - 1);
    const row = props.rows[to];
    const el = box.current;
    if (row === undefined || !el) return;
    setActive(props.keyOf(row));
    const top = scrollFor(starts, to, el.scrollTop, el.clientHeight);
    if (top !== undefined) el.scrollTop = top;
  };
  const press = (e: KeyboardEvent) => {
    if (e.altKey || e.ctrlKey || e.metaKey || activeRow === undefined) return;
    const page = Math.max(1, Math.floor(view.height / 52) - 1);
    const by: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: props.rows.length - 1,
    };
    const to = by[e.key];
    if (to !== undefined) move(active === undefined && e.key === "ArrowDown" ? 0 : to);
    else if (e.key === "Enter" || e.key === " ") props.onPick(activeRow);
    else if (!props.onKey?.(activeRow, e.key)) return;
    e.preventDefault();
  };
  const idOf = (row: R) => `${props.id}-${props.keyOf(row)}`;
  const list = {
    id: props.id,
    class: "people-rows",
    role: props.role,
    tabIndex: 0,
    "aria-label": props.label,
    "aria-multiselectable": props.multiple,
    "aria-activedescendant": activeRow === undefined ? undefined : idOf(activeRow),
    onKeyDown: press,
  };
  const line = (row: R, index: number) => ({
    id: idOf(row),
    class: `people-row${index === at && active !== undefined ? " people-row-active" : ""}`,
    role: props.role === "tree" ? ("treeitem" as const) : ("option" as const),
    style: { top: `${starts[index] ?? 0}px`, height: `${props.heightOf(row)}px` },
    ...props.aria(row, index),
    onClick: () => {
      setActive(props.keyOf(row));
      props.onPick(row);
    },
  });
  return (
    <div ref={box} {...list}>
      <div class="people-rows-all" role="presentation" style={{ height: `${starts[starts.length - 1] ?? 0}px` }}>
        {drawn.map(({ row, index }) => (
          <div key={props.keyOf(row)} {...line(row, index)}>
            {props.draw(row)}
          </div>
        ))}
      </div>
    </div>
  );
}
