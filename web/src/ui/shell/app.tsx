import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import type { Engine } from "../../engine/api";
import { Toasts } from "../kit";
import { Login, Logo } from "./login";
import { go } from "./route";
import { Shell } from "./shell";
import { StatusPill } from "./status";

/** Login or messenger, by what the engine says. */
export function App({ engine }: { engine: Engine }) {
  const [took, setTook] = useState<boolean>(); // whether there was a session to take up; undefined: not known yet
  const begun = useSignal(false); // a queue before the first conversation is the login's business
  useEffect(() => {
    engine.restore().then(setTook, () => setTook(false));
  }, [engine]);
  useSignalEffect(() => {
    const s = engine.status.value;
    document.body.dataset.phase = s.phase;
    document.body.dataset.transport = s.transport ?? "";
    document.body.dataset.stale = String(s.stale ?? false);
    if (s.phase === "out") {
      begun.value = false;
      if (s.ended === "loggedOut") {
        go({ section: "chats" }); // whoever logs in next did not open this conversation
      }
    } else if (engine.me.value) {
      begun.value = true;
    }
  });
  const phase = engine.status.value.phase;
  useEffect(() => {
    // From here on it is a matter of logging in, whose form stays until it has succeeded.
    if (phase === "out") {
      setTook((before) => before && false);
    }
  }, [phase, took]);
  const inside = begun.value && phase !== "out";
  return (
    <>
      {inside ? (
        <Shell engine={engine} />
      ) : took === false && phase !== "online" ? (
        <Login engine={engine} />
      ) : (
        <main class="starting">
          <Logo size={56} />
          <StatusPill engine={engine} />
        </main>
      )}
      <Toasts />
    </>
  );
}
