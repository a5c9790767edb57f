import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const css = readFileSync(new URL("./tokens.css", import.meta.url), "utf8");

/** The colours of a block of the style sheet. */
function colours(block: string): Record<string, string> {
  return Object.fromEntries([...block.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6});/g)].map((m) => [m[1] ?? "", m[2] ?? ""]));
}

const [rest, dark] = css.split('[data-theme="dark"] {');
const light = colours(rest ?? "");
const themes = { light, dark: { ...light, ...colours((dark ?? "").split("}")[0] ?? "") } };

function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((i) => {
    const c = Number.parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** WCAG 2: from 1 to 21. */
function contrast(a: string, b: string): number {
  const [high = 0, low = 0] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

const grounds = ["bg", "bg-raised", "bg-sunk"];
const bubbles = ["bubble", "bubble-mine"];
const pairs: [text: string, on: string[]][] = [
  ["text", [...grounds, ...bubbles, "bg-active", "bg-rail", "accent-soft", "mark"]],
  ["text-2", [...grounds, ...bubbles, "bg-active", "bg-rail", "accent-soft"]],
  ["text-3", [...grounds, "bubble"]],
  ["accent", [...grounds, ...bubbles, "bg-rail", "accent-soft"]],
  ["accent-text", ["accent", "accent-strong"]],
  ["danger", [...grounds, ...bubbles, "danger-soft"]],
  ["warn", [...grounds, ...bubbles, "warn-soft"]],
  ["ok", grounds],
];

test("every text can be read on everything it stands on, in both themes", () => {
  expect(contrast("#000000", "#ffffff")).toBeCloseTo(21);
  const weak = Object.entries(themes).flatMap(([theme, c]) =>
    pairs.flatMap(([text, on]) =>
      on.flatMap((ground) => {
        const ratio = contrast(c[text] ?? "", c[ground] ?? "");
        return ratio >= 4.5 ? [] : [`${theme}: ${text} on ${ground} ${ratio.toFixed(2)}`];
      }),
    ),
  );
  expect(weak).toEqual([]);
});

test("white letters on the avatars", () => {
  const tones = Object.entries(colours(css)).filter(([name]) => name.startsWith("tone-"));
  expect(tones).toHaveLength(8);
  expect(tones.filter(([, c]) => contrast(c, "#ffffff") < 4.5)).toEqual([]);
});

test("the name in a quote, on the veil that a quote lays over its bubble", () => {
  const veils = { light: [20, 30, 50, 0.05], dark: [255, 255, 255, 0.06] } as const;
  for (const [theme, [r, g, b, a]] of Object.entries(veils)) {
    const c = themes[theme as keyof typeof themes];
    for (const ground of bubbles) {
      const under = [1, 3, 5].map((i) => Number.parseInt((c[ground] ?? "").slice(i, i + 2), 16));
      const mixed = [r, g, b].map((v, i) => Math.round(v * a + (under[i] ?? 0) * (1 - a)));
      const veiled = `#${mixed.map((v) => v.toString(16).padStart(2, "0")).join("")}`;
      expect(contrast(c["accent-strong"] ?? "", veiled)).toBeGreaterThanOrEqual(4.5);
      expect(contrast(c["text-2"] ?? "", veiled)).toBeGreaterThanOrEqual(4.5);
    }
  }
});
