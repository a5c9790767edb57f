// What was chosen, pasted or dropped, and is not sent yet.

import { signal } from "@preact/signals";
import { bytes } from "../format";
import { t } from "../i18n";
import { toast } from "../kit";

export interface Staged {
  id: number;
  file: File;
  url?: string; // of a picture
}

/** What every browser shows and the server takes as a picture; anything else is a file. */
const pictures = ["image/png", "image/jpeg", "image/gif", "image/webp"];

export function isPicture(type: string): boolean {
  return pictures.includes(type);
}

/** Why a file can't be sent; undefined: it can. */
export function refusal(file: { name: string; size: number }, most: number): string | undefined {
  if (file.size === 0) {
    return t("compose.emptyFile", { name: file.name });
  }
  return most > 0 && file.size > most ? t("compose.tooLarge", { name: file.name, size: bytes(most) }) : undefined;
}

let last = 0;

export class Stage {
  readonly files = signal<readonly Staged[]>([]);

  add(files: Iterable<File>, most: number): void {
    for (const file of files) {
      const why = refusal(file, most);
      if (why) {
        toast(why, { kind: "error" });
      } else {
        const id = ++last;
        const staged = isPicture(file.type) ? { id, file, url: URL.createObjectURL(file) } : { id, file };
        this.files.value = [...this.files.value, staged];
      }
    }
  }

  remove(id: number): void {
    const gone = this.files.value.find((f) => f.id === id);
    if (gone?.url) {
      URL.revokeObjectURL(gone.url);
    }
    this.files.value = this.files.value.filter((f) => f.id !== id);
  }

  /** Gives everything out and is empty. */
  take(): { pictures: File[]; files: File[] } {
    const all = this.files.value;
    for (const f of all) {
      if (f.url) {
        URL.revokeObjectURL(f.url);
      }
    }
    this.files.value = [];
    return {
      pictures: all.filter((f) => f.url).map((f) => f.file),
      files: all.filter((f) => !f.url).map((f) => f.file),
    };
  }
}

/** The files of a paste or a drop. A picture copied from a document comes with its text: then the text is meant. */
export function filesOf(data: DataTransfer | null): File[] {
  const files = [...(data?.files ?? [])];
  const hasText = data?.types.includes("text/plain") ?? false;
  return hasText && files.every((f) => isPicture(f.type)) ? [] : files;
}
