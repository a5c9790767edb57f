// Which rows of a long list are worth drawing: those on screen and a few beside them.

export interface Extent {
  first: number;
  last: number; // exclusive
}

/** Where each row begins, in pixels; one more than there are rows: the last is where all end. */
export function offsets(heights: readonly number[]): number[] {
  const out = [0];
  let at = 0;
  for (const h of heights) {
    at += h;
    out.push(at);
  }
  return out;
}

/** The row that is at a height, the last one if the height is below all. */
export function rowAt(starts: readonly number[], y: number): number {
  let low = 0;
  let high = Math.max(starts.length - 2, 0);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The rows between two heights, and so many pixels beside them. */
export function visible(starts: readonly number[], top: number, height: number, beside: number): Extent {
  if (starts.length < 2) return { first: 0, last: 0 };
  return { first: rowAt(starts, Math.max(top - beside, 0)), last: rowAt(starts, top + height + beside) + 1 };
}

/** How far to scroll so that a row is in sight; undefined: it is. */
export function scrollFor(starts: readonly number[], row: number, top: number, height: number): number | undefined {
  const begin = starts[row] ?? 0;
  const end = starts[row + 1] ?? begin;
  if (begin < top) return begin;
  if (end > top + height) return end - height;
  return undefined;
}
