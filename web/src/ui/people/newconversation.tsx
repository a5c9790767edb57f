// A new conversation: with one person, or a group of several, whose name is asked then.

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { ConversationKey, Engine, Person } from "../../engine/api";
import { t } from "../i18n";
import { Button, Dialog, Field, report } from "../kit";
import { Picker } from "./picker";

export interface NewConversationProps {
  engine: Engine;
  onConversation(key: ConversationKey): void;
  onClose(): void;
}

/** What a group is called whose maker has not said: its first members. */
export function suggestedName(people: readonly Person[], separator: string): string {
  const names = people.slice(0, 3).map((p) => p.name.replace(/\s*\(.*\)$/, ""));
  return names.join(separator) + (people.length > 3 ? "…" : "");
}

export function NewConversation({ engine, onConversation, onClose }: NewConversationProps) {
  const chosen = useSignal<readonly Person[]>([]);
  const name = useSignal("");
  const busy = useSignal(false);
  const me = engine.me.value?.id;
  const without = useMemo(() => new Set(me === undefined ? [] : [me]), [me]);
  const people = chosen.value;
  const group = people.length > 1;
  const go = (key: ConversationKey) => {
    onClose();
    onConversation(key);
  };
  const create = async () => {
    const first = people[0];
    if (!first || busy.value) return;
    if (!group) {
      go(`u${first.id}`);
      return;
    }
    busy.value = true;
    const members = people.map((p) => p.id);
    if (me !== undefined) members.unshift(me);
    try {
      go(await engine.createGroup(name.value.trim() || suggestedName(people, t("people.and")), members));
    } catch (problem) {
      report(problem);
    } finally {
      busy.value = false;
    }
  };
  return (
    <Dialog
      title={group ? t("group.new") : t("people.newConversation")}
      onClose={onClose}
      footer={
        <Button kind="primary" busy={busy.value} disabled={people.length === 0} onClick={create}>
          {group ? t("group.create", { n: people.length + 1 }) : t("people.message")}
        </Button>
      }
    >
      {group && (
        <Field
          label={t("group.name")}
          value={name.value}
          hint={t("group.nameHint", { name: suggestedName(people, t("people.and")) })}
          maxLength={60}
          onInput={(text: string) => {
            name.value = text;
          }}
        />
      )}
      <Picker engine={engine} chosen={chosen} without={without} />
    </Dialog>
  );
}
