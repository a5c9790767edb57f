// What is fetched after a login, or when the server can't repeat what was missed.

import { Ask } from "../questions";
import type { Calls } from "../session/calls";
import type { Conversations } from "./conversations";
import { group } from "./entry";
import type { OfflineFiles } from "./files";
import type { Groups } from "./groups";
import type { People } from "./people";

const presenceMost = 300; // asked for at once
const gatherTime = 20; // ms in which people and groups that are not known are gathered

export interface ListsOf {
  calls: Calls;
  people: People;
  groups: Groups;
  conversations: Conversations;
  files: OfflineFiles;
  me(): number;
}

export class Lists {
  private readonly of: ListsOf;
  private readonly wantedPeople = new Set<number>();
  private readonly wantedGroups = new Set<number>();
  private readonly asked = new Set<string>(); // not to be asked for again: there is no such person or group
  private gathering = false;
  private run = 0;

  constructor(of: ListsOf) {
    this.of = of;
  }

  /** Fetches everything anew. What can't be had now comes with the next connection. */
  async refresh(): Promise<void> {
    const run = ++this.run;
    const { calls, people, conversations, files } = this.of;
    const userId = this.of.me();
    this.asked.clear();
    const directory = Promise.all([
      calls.ask(Ask.departments, { userId, latestUpdateTime: 0 }).then((a) => people.putDepartments(a.deptList)),
      calls.ask(Ask.allUsers, { userId, latestUpdateTime: 0 }).then((a) => people.put(a.userList)),
    ]);
    const [recent, unread, normal] = await Promise.all([
      calls.ask(Ask.recent, { userId, latestUpdateTime: 0 }),
      calls.ask(Ask.unread, { userId }),
      calls.ask(Ask.normalGroups, { userId }),
    ]);
    if (run !== this.run) {
      return;
    }
    conversations.refresh(recent.contactSessionList, unread.unreadinfoList);
    const ids = new Set(normal.groupVersionList.map((g) => g.groupId));
    for (const s of [...recent.contactSessionList, ...unread.unreadinfoList]) {
      if (s.sessionType === group) {
        ids.add(s.sessionId);
      }
    }
    for (const id of this.of.groups.all.value.keys()) {
      ids.add(id);
    }
    await this.fetchGroups([...ids], true);
    const offline = await calls.ask(Ask.offlineFiles, { userId });
    for (const f of offline.offlineFileList) {
      files.put({ from: f.fromUserId, task: f.taskId, name: f.fileName, size: f.fileSize });
    }
    await directory;
  }

  /** A person who is not known yet. */
  needPerson(id: number): void {
    if (id > 0 && !this.of.people.get(id) && !this.asked.has(`u${id}`)) {
      this.wantedPeople.add(id);
      this.gather();
    }
  }

  needGroup(id: number, again = false): void {
    if (again || (!this.of.groups.get(id) && !this.asked.has(`g${id}`))) {
      this.wantedGroups.add(id);
      this.gather();
    }
  }

  private gather(): void {
    if (this.gathering) {
      return;
    }
    this.gathering = true;
    setTimeout(() => {
      this.gathering = false;
      const people = [...this.wantedPeople];
      const groups = [...this.wantedGroups];
      this.wantedPeople.clear();
      this.wantedGroups.clear();
      for (const id of people) {
        this.asked.add(`u${id}`);
      }
      for (const id of groups) {
        this.asked.add(`g${id}`);
      }
      void this.fetchPeople(people).catch(() => undefined); // shown by their numbers until the lists come again
      void this.fetchGroups(groups).catch(() => undefined);
    }, gatherTime);
  }

  private async fetchPeople(ids: number[]): Promise<void> {
    if (ids.length > 0) {
      const answer = await this.of.calls.ask(Ask.users, { userId: this.of.me(), userIdList: ids });
      this.of.people.put(answer.userInfoList);
    }
  }

  private async fetchGroups(ids: number[], all = false): Promise<void> {
    if (ids.length === 0) {
      return;
    }
    const answer = await this.of.calls.ask(Ask.groups, {
      userId: this.of.me(),
      groupVersionList: ids.map((groupId) => ({ groupId, version: 0 })),
    });
    this.of.groups.put(answer.groupInfoList);
    if (all) {
      this.of.groups.keepOnly(new Set(answer.groupInfoList.map((g) => g.groupId)));
    }
    for (const g of answer.groupInfoList) {
      for (const member of g.groupMemberList) {
        this.needPerson(member);
      }
    }
  }

  /** Follows the presence of people; a new connection has to be asked for all of them again. */
  async followPresence(ids: readonly number[]): Promise<void> {
    for (let at = 0; at < ids.length; at += presenceMost) {
      const some = ids.slice(at, at + presenceMost);
      const answer = await this.of.calls.ask(Ask.presence, { userId: this.of.me(), userIdList: some });
      this.of.people.presence(answer.userStatList);
    }
  }
}
