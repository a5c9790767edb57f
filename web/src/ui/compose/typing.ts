/** Tells the others that one writes: when it begins, again every few seconds, and when it ends. */
export class TypingNotice {
  #told = 0; // when the others were told last; 0: they think that nobody writes
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly tell: (writing: boolean) => void,
    private readonly every = 4000,
    private readonly idle = 6000,
  ) {}

  /** The text changed. */
  changed(text: string): void {
    if (text.trim() === "") {
      this.stop();
      return;
    }
    const now = Date.now();
    if (this.#told === 0 || now - this.#told >= this.every) {
      this.#told = now;
      this.tell(true);
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.stop(), this.idle);
  }

  stop(): void {
    clearTimeout(this.#timer);
    if (this.#told > 0) {
      this.#told = 0;
      this.tell(false);
    }
  }
}
