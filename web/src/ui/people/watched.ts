// Tells the engine whose presence is on screen, once scrolling has come to rest.

import { useEffect, useRef } from "preact/hooks";
import type { Engine } from "../../engine/api";

const rest = 150; // ms

export function useWatched(engine: Engine): (people: number[]) => void {
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (people) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => engine.watch(people), rest);
  };
}
