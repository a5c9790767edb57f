// Files that old clients left for me: they are no messages, and are shown where they were noticed.

import { sizeText } from "../media/forms";
import type { Conversations } from "./conversations";
import type { Entry } from "./entry";

export interface OfflineFile {
  from: number;
  task: string;
  name: string;
  size: number;
}

export class OfflineFiles {
  private readonly files = new Map<string, OfflineFile>();
  private readonly conversations: Conversations;

  constructor(conversations: Conversations) {
    this.conversations = conversations;
  }

  get(task: string): OfflineFile | undefined {
    return this.files.get(task);
  }

  put(file: OfflineFile): void {
    if (this.files.has(file.task)) {
      return;
    }
    this.files.set(file.task, file);
    const name = file.name.split(/[\\/]/).pop() || file.name; // Windows sends the whole path
    const entry: Entry = {
      key: `f${file.task}`,
      id: 0,
      order: 0,
      from: file.from,
      mine: false,
      time: Date.now(),
      parts: [{ kind: "file", name, sizeText: sizeText(file.size), path: "", task: file.task }],
      plain: `[文件] ${name}`,
      state: "live",
      hubSeq: 0,
    };
    this.conversations.talk(`u${file.from}`).write(entry);
    this.conversations.noticed(`u${file.from}`, entry);
  }

  /** It has been fetched, and is not offered any more. */
  done(task: string): OfflineFile | undefined {
    const file = this.files.get(task);
    this.files.delete(task);
    return file;
  }

  clear(): void {
    this.files.clear();
  }
}
