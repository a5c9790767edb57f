/** How well a name fits what was typed: 0 not at all; higher is better. */
export function matches(name: string, typed: string): number {
  const [low, want] = [name.toLowerCase(), typed.trim().toLowerCase()];
  if (want === "") {
    return 1;
  }
  const at = low.indexOf(want);
  if (at === 0) {
    return 5;
  }
  if (at > 0) {
    return /[\p{L}\p{N}]/u.test(low[at - 1] ?? "") && !/\p{Script=Han}/u.test(want) ? 3 : 4;
  }
  const initials = low
    .split(/[\s._-]+/u)
    .map((w) => w[0] ?? "")
    .join("");
  return initials.startsWith(want) ? 2 : 0;
}

/** Those that fit, the best first, then the more recent one. */
export function best<T extends { lastTime: number }>(
  all: readonly T[],
  names: (x: T) => readonly string[],
  typed: string,
): T[] {
  return all
    .map((x) => ({ x, fits: Math.max(0, ...names(x).map((n) => matches(n, typed))) }))
    .filter(({ fits }) => fits > 0)
    .sort((a, b) => b.fits - a.fits || b.x.lastTime - a.x.lastTime)
    .map(({ x }) => x);
}
