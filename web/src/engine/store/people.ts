// Who there is, and who of them is there.

import { signal } from "@preact/signals";
import {
  type DepartInfo,
  DepartmentStatusType,
  type UserInfo,
  type UserStat,
  UserStatType,
} from "../../pb/IM.BaseDefine_pb";
import type { Department, Person } from "../api";
import { pathOf } from "../media/forms";
import type { Batch } from "./batch";
import { View } from "./batch";

/** From here on ids are of other offices [TT-FED-1]. */
export const firstRemote = 0x40000000;

const hasLeft = 3; // status of a user
const watchMost = 1_000; // whose presence a session may follow [TT-SESS-10]

export class People {
  readonly all = signal<ReadonlyMap<number, Person>>(new Map());
  readonly departments = signal<readonly Department[]>([]);
  /** Names may have changed. */
  changed: () => void = () => undefined;
  private readonly map = new Map<number, Person>();
  private readonly units = new Map<number, Department>();
  private readonly offices = new Set<number>(); // departments that are other offices: where remote people are
  private readonly watched = new Map<number, Person["presence"]>();
  private readonly batch: Batch;
  private readonly publish = () => {
    this.all.value = new View(this.map);
    this.changed();
  };

  constructor(batch: Batch) {
    this.batch = batch;
  }

  get(id: number): Person | undefined {
    return this.map.get(id);
  }

  put(infos: readonly UserInfo[]): void {
    const known = this.offices.size;
    for (const info of infos) {
      const person = personOf(info, this.watched.get(info.userId) ?? "unknown");
      this.map.set(info.userId, person);
      if (person.remote) {
        this.offices.add(person.department);
      }
    }
    if (this.offices.size > known) {
      this.showDepartments();
    }
    this.batch.later(this.publish);
  }

  putDepartments(infos: readonly DepartInfo[]): void {
    for (const d of infos) {
      if (d.deptStatus === DepartmentStatusType.DEPT_STATUS_DELETE) {
        this.units.delete(d.deptId);
      } else {
        this.units.set(d.deptId, {
          id: d.deptId,
          parent: d.parentDeptId,
          name: d.deptName,
          rank: d.priority,
          office: false,
        });
      }
    }
    this.showDepartments();
  }

  private showDepartments(): void {
    const all = [...this.units.values()].map((d) => ({ ...d, office: this.offices.has(d.id) }));
    this.departments.value = all.sort((a, b) => a.rank - b.rank || a.id - b.id);
  }

  presence(stats: readonly UserStat[]): void {
    for (const s of stats) {
      this.setPresence(s.userId, s.status === UserStatType.USER_STATUS_ONLINE ? "online" : "offline");
    }
  }

  private setPresence(id: number, presence: Person["presence"]): void {
    if (this.watched.has(id)) {
      this.watched.set(id, presence);
      this.change(id, { presence });
    }
  }

  change(id: number, change: Partial<Person>): void {
    const person = this.map.get(id);
    if (person) {
      this.map.set(id, { ...person, ...change });
      this.batch.later(this.publish);
    }
  }

  setAvatar(id: number, url: string): void {
    const person = this.map.get(id);
    if (person) {
      const { avatar: _, ...rest } = person;
      const path = pathOf(url);
      this.map.set(id, path ? { ...rest, avatar: path } : rest);
      this.batch.later(this.publish);
    }
  }

  /** Follows more people; returns those that are new. */
  watch(ids: readonly number[]): number[] {
    const fresh = ids.filter((id) => id > 0 && !this.watched.has(id)).slice(0, watchMost - this.watched.size);
    for (const id of fresh) {
      this.watched.set(id, "unknown");
    }
    return fresh;
  }

  /** All who are followed: a new connection has to be asked again. */
  get followed(): number[] {
    return [...this.watched.keys()];
  }

  /** Nothing is heard any more. */
  lost(): void {
    for (const id of this.watched.keys()) {
      this.setPresence(id, "unknown");
    }
  }

  clear(): void {
    this.map.clear();
    this.units.clear();
    this.offices.clear();
    this.watched.clear();
    this.departments.value = [];
    this.publish();
  }
}

function personOf(u: UserInfo, presence: Person["presence"]): Person {
  const avatar = pathOf(u.avatarUrl);
  return {
    id: u.userId,
    login: u.userRealName,
    name: u.userNickName || u.userRealName,
    spelling: u.userDomain,
    remote: u.remote || u.userId >= firstRemote,
    gender: u.userGender === 1 ? "m" : u.userGender === 2 ? "f" : "",
    department: u.departmentId,
    sign: u.signInfo,
    left: u.status === hasLeft,
    presence,
    ...(u.address && { address: u.address }),
    ...(avatar && { avatar }),
    ...(u.email && { email: u.email }),
    ...(u.userTel && { phone: u.userTel }),
  };
}
