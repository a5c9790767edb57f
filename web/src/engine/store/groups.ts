import { signal } from "@preact/signals";
import { type GroupInfo, GroupType } from "../../pb/IM.BaseDefine_pb";
import type { Group } from "../api";
import { pathOf } from "../media/forms";
import type { Batch } from "./batch";
import { View } from "./batch";
import { firstRemote } from "./people";

/** The groups that I am in, or was. */
export class Groups {
  readonly all = signal<ReadonlyMap<number, Group>>(new Map());
  /** Names, or who is in them, may have changed. */
  changed: () => void = () => undefined;
  private readonly map = new Map<number, Group>();
  private readonly batch: Batch;
  private readonly publish = () => {
    this.all.value = new View(this.map);
    this.changed();
  };

  constructor(batch: Batch) {
    this.batch = batch;
  }

  get(id: number): Group | undefined {
    return this.map.get(id);
  }

  put(infos: readonly GroupInfo[]): void {
    for (const g of infos) {
      const avatar = pathOf(g.groupAvatar);
      this.map.set(g.groupId, {
        id: g.groupId,
        name: g.groupName,
        creator: g.groupCreatorId,
        members: g.groupMemberList,
        muted: g.shieldStatus === 1,
        fixed: g.groupType === GroupType.NORMAL,
        remote: g.remote || g.groupId >= firstRemote,
        gone: false,
        ...(avatar && { avatar }),
        ...(g.address && { address: g.address }),
      });
    }
    this.batch.later(this.publish);
  }

  change(id: number, change: Partial<Group>): void {
    const group = this.map.get(id);
    if (group) {
      this.map.set(id, { ...group, ...change });
      this.batch.later(this.publish);
    }
  }

  /** After a gap: those that are not listed again have been left meanwhile. */
  keepOnly(ids: ReadonlySet<number>): void {
    for (const id of this.map.keys()) {
      if (!ids.has(id)) {
        this.change(id, { gone: true });
      }
    }
  }

  clear(): void {
    this.map.clear();
    this.publish();
  }
}
