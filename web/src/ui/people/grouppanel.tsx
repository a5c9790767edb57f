// A group beside its conversation: who is in it, and what one may do about it.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Engine, Group, Person } from "../../engine/api";
import { t } from "../i18n";
import { Button, Dialog, IconButton, report } from "../kit";
import { GroupFace, PersonLine } from "./lines";
import { Picker } from "./picker";
import { Switch } from "./switch";
import { bySpelling } from "./tree";

export interface GroupPanelProps {
  engine: Engine;
  id: number;
  onPerson(id: number): void;
  onClose(): void;
  onLeft(): void;
}

/** Whether somebody may take others in: in groups that the company has made, only who has made it [TT-GROUP-4]. */
export function mayAdd(group: Group, me: number): boolean {
  return !group.gone && (!group.fixed || group.creator === me);
}

/** Whether somebody may take out others. */
export function mayRemove(group: Group, me: number, other: number): boolean {
  return !group.gone && group.creator === me && other !== me;
}

/** The members that are known, who has made the group first, then by spelling. */
export function membersOf(group: Group, people: ReadonlyMap<number, Person>): Person[] {
  const known = group.members.flatMap((id) => people.get(id) ?? []);
  return known.sort((a, b) => Number(b.id === group.creator) - Number(a.id === group.creator) || bySpelling(a, b));
}

export function GroupPanel({ engine, id, onPerson, onClose, onLeft }: GroupPanelProps) {
  const adding = useSignal(false);
  const leaving = useSignal(false);
  const group = engine.groups.value.get(id);
  const me = engine.me.value?.id ?? 0;
  const people = engine.people.value;
  const members = useMemo(() => (group ? membersOf(group, people) : []), [group, people]);
  const present = members.map((p) => p.id).join();
  useEffect(() => engine.watch(members.map((p) => p.id)), [engine, present]);
  if (!group) return null;
  return (
    <aside class="group-panel" aria-label={t("group.about", { name: group.name })}>
      <header class="group-top">
        <h2>{t("group.title")}</h2>
        <IconButton icon="close" label={t("close")} onClick={onClose} />
      </header>
      <div class="group-head">
        <GroupFace engine={engine} group={group} size={72} />
        <p class="group-name">{group.name}</p>
        <p class="group-kind">{kindOf(group)}</p>
      </div>
      {!group.gone && (
        <Switch
          label={t("group.mute")}
          hint={t("group.muteHint")}
          on={group.muted}
          onChange={(on) => engine.muteGroup(id, on).catch(report)}
        />
      )}
      <div class="group-bar">
        <h3>{t("people.members", { n: group.members.length })}</h3>
        {mayAdd(group, me) && (
          <Button kind="quiet" onClick={() => (adding.value = true)}>
            {t("group.add")}
          </Button>
        )}
      </div>
      <Members engine={engine} group={group} me={me} members={members} onPerson={onPerson} />
      {!group.fixed && !group.gone && (
        <div class="group-leave">
          <Button kind="danger" onClick={() => (leaving.value = true)}>
            {t("group.leave")}
          </Button>
        </div>
      )}
      {adding.value && <Adding engine={engine} group={group} onClose={() => (adding.value = false)} />}
      {leaving.value && (
        <Leaving engine={engine} group={group} onLeft={onLeft} onClose={() => (leaving.value = false)} />
      )}
    </aside>
  );
}

function kindOf(group: Group): string {
  if (group.gone) return t("group.gone");
  if (group.fixed) return t("group.fixed");
  return group.remote ? (group.address ?? t("group.remote")) : "";
}

interface MembersProps {
  engine: Engine;
  group: Group;
  me: number;
  members: readonly Person[];
  onPerson(id: number): void;
}

function Members({ engine, group, me, members, onPerson }: MembersProps) {
  const removing = useSignal<number | undefined>(undefined);
  const remove = async (id: number) => {
    removing.value = id;
    await engine.removeMembers(group.id, [id]).catch(report);
    removing.value = undefined;
  };
  return (
    <ul class="group-members" aria-label={t("group.members")}>
      {members.map((person) => (
        <li key={person.id} data-member={person.id}>
          <button type="button" class="line" onClick={() => onPerson(person.id)}>
            <PersonLine
              engine={engine}
              person={person}
              {...(person.id === group.creator
                ? { tag: t("group.owner") }
                : person.id === me
                  ? { tag: t("people.me") }
                  : {})}
            />
          </button>
          {mayRemove(group, me, person.id) && (
            <IconButton
              icon="close"
              label={t("group.remove", { name: person.name })}
              disabled={removing.value === person.id}
              onClick={() => remove(person.id)}
            />
          )}
        </li>
      ))}
    </ul>
  );
}

function Adding({ engine, group, onClose }: { engine: Engine; group: Group; onClose(): void }) {
  const chosen = useSignal<readonly Person[]>([]);
  const busy = useSignal(false);
  const without = useMemo(() => new Set(group.members), [group.members]);
  const add = async () => {
    busy.value = true;
    try {
      await engine.addMembers(
        group.id,
        chosen.value.map((p) => p.id),
      );
      onClose();
    } catch (problem) {
      report(problem);
    } finally {
      busy.value = false;
    }
  };
  return (
    <Dialog
      title={t("group.addTo", { name: group.name })}
      onClose={onClose}
      footer={
        <Button kind="primary" busy={busy.value} disabled={chosen.value.length === 0} onClick={add}>
          {t("group.addThem", { n: chosen.value.length })}
        </Button>
      }
    >
      <Picker engine={engine} chosen={chosen} without={without} />
    </Dialog>
  );
}

interface LeavingProps {
  engine: Engine;
  group: Group;
  onLeft(): void;
  onClose(): void;
}

function Leaving({ engine, group, onLeft, onClose }: LeavingProps) {
  const busy = useSignal(false);
  const leave = async () => {
    busy.value = true;
    try {
      await engine.leaveGroup(group.id);
      onClose();
      onLeft();
    } catch (problem) {
      report(problem);
    } finally {
      busy.value = false;
    }
  };
  return (
    <Dialog
      title={t("group.leaveAsk", { name: group.name })}
      onClose={onClose}
      footer={
        <>
          <Button kind="plain" onClick={onClose}>
            {t("cancel")}
          </Button>
          <Button kind="danger" busy={busy.value} onClick={leave}>
            {t("group.leave")}
          </Button>
        </>
      }
    >
      <p>{t("group.leaveHint")}</p>
    </Dialog>
  );
}
