import { type Signal, signal } from "@preact/signals";
import type { Engine, Person } from "../../engine/api";
import { Icon } from "./icon";
import { Presence } from "./small";

type Picture = string | "loading" | "failed";

const known = new WeakMap<Engine, Map<string, Signal<Picture>>>();

/** A picture's URL as a signal; asked for once, so that what scrolls away and comes back does not flicker. */
export function pictureOf(engine: Engine, path: string, box?: number): Signal<Picture> {
  const all = known.get(engine) ?? new Map<string, Signal<Picture>>();
  known.set(engine, all);
  const key = `${box ?? 0} ${path}`;
  const have = all.get(key);
  if (have && have.peek() !== "failed") {
    return have;
  }
  const s = have ?? signal<Picture>("loading");
  s.value = "loading";
  all.set(key, s);
  engine.picture(path, box).then(
    (url) => {
      s.value = url;
    },
    () => {
      s.value = "failed";
    },
  );
  return s;
}

/** Forgets a URL that did not work, so that the next look asks again. */
export function pictureBroke(engine: Engine, path: string, box?: number): void {
  const s = known.get(engine)?.get(`${box ?? 0} ${path}`);
  if (s) {
    s.value = "failed";
  }
}

/** Two letters that stand for a name: the given name of a Chinese one, else the first letters of two words. */
export function initials(name: string): string {
  const words = name.trim().split(/[\s_-]+|(?<=\p{L})\.(?=\p{L})/u);
  const han = name.match(/\p{Script=Han}/gu);
  if (han) {
    return han.slice(-2).join("");
  }
  const letters = words.map((w) => [...w][0] ?? "");
  return (words.length > 1 ? `${letters[0] ?? ""}${letters.at(-1) ?? ""}` : (letters[0] ?? "?")).toUpperCase();
}

interface AvatarProps {
  engine: Engine;
  name: string;
  path?: string | undefined;
  id?: number; // chooses the tone; without it the name does
  box?: number;
  group?: boolean;
  presence?: Person["presence"] | undefined;
}

function toneOf(name: string, id: number | undefined): number {
  const seed = id ?? [...name].reduce((sum, c) => sum * 31 + (c.codePointAt(0) ?? 0), 7);
  return Math.abs(seed) % 8;
}

export function Avatar({ engine, name, path, id, box = 36, group, presence }: AvatarProps) {
  const pixels = box * Math.min(2, Math.ceil(globalThis.devicePixelRatio || 1));
  const url = path ? pictureOf(engine, path, pixels).value : "failed";
  const ready = url !== "loading" && url !== "failed";
  const shape = group ? "avatar-group" : "avatar-person";
  return (
    <span class={`avatar avatar-${box} ${shape} tone-${toneOf(name, id)}`} aria-hidden={presence ? undefined : true}>
      {ready ? (
        <img src={url} alt="" draggable={false} onError={() => path && pictureBroke(engine, path, pixels)} />
      ) : group && !name ? (
        <Icon name="group" size={box / 2} />
      ) : (
        <span class="avatar-letters" aria-hidden="true">
          {initials(name)}
        </span>
      )}
      {presence && <Presence value={presence} />}
    </span>
  );
}
