const base = 200;
const most = 30_000;
const stable = 60_000;

/**
 * Spaces attempts to connect: full jitter, doubling [TT-SESS-22]. A connection that was live takes back half of the doublings, so that
 * somebody on the move is not made to wait for breaks that are behind him, and a server that takes everybody in and then falls is not stormed.
 */
export class Backoff {
  private failed = 0;

  /** How long to wait now, ms; never shorter than what the server asked for. */
  next(atLeast: number): number {
    const span = Math.min(most, base * 2 ** this.failed);
    this.failed = Math.min(this.failed + 1, 20);
    return atLeast + Math.random() * span;
  }

  /** Notes for how long the last connection was live, ms. */
  wasLive(time: number): void {
    if (time >= stable) {
      this.failed = 0;
    } else if (time > 0) {
      this.failed >>= 1;
    }
  }

  reset(): void {
    this.failed = 0;
  }
}
