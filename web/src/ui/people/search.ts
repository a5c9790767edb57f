// Asks for people of other offices as somebody types, not at every letter, and never shows an answer to what was typed before.

import { useEffect, useState } from "preact/hooks";
import type { Engine, Person } from "../../engine/api";

const calm = 250; // ms without a letter

export interface Search {
  busy: boolean;
  found: readonly Person[];
}

export function usePeopleSearch(engine: Engine, text: string): Search {
  const [state, set] = useState<Search>({ busy: false, found: [] });
  const wanted = text.trim();
  useEffect(() => {
    if (wanted === "") {
      set({ busy: false, found: [] });
      return;
    }
    let old = false;
    set((was) => ({ busy: true, found: was.found }));
    const timer = setTimeout(() => {
      engine.searchPeople(wanted).then(
        (found) => old || set({ busy: false, found }),
        () => old || set({ busy: false, found: [] }), // the people of this office are found without it
      );
    }, calm);
    return () => {
      old = true;
      clearTimeout(timer);
    };
  }, [engine, wanted]);
  return state;
}
