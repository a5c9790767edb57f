import { signal } from "@preact/signals";

/** The longest voice message, in seconds: then the recording ends by itself and waits to be sent. */
export const longest = 300;

const types = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];

/** The kind of recording that this browser makes; undefined: none. */
export function recordingType(): string | undefined {
  return typeof MediaRecorder === "undefined" ? undefined : types.find((type) => MediaRecorder.isTypeSupported(type));
}

/** Records from the microphone until it is stopped; then the microphone is off. */
export class Recorder {
  readonly seconds = signal(0);
  readonly level = signal(0); // 0..1
  #recorder: MediaRecorder;
  #chunks: Blob[] = [];
  #stream: MediaStream;
  #context = new AudioContext();
  #begun = performance.now();
  #frame = 0;

  private constructor(stream: MediaStream, type: string) {
    this.#stream = stream;
    this.#recorder = new MediaRecorder(stream, { mimeType: type, audioBitsPerSecond: 32_000 });
    this.#recorder.ondataavailable = (e) => this.#chunks.push(e.data);
    this.#recorder.start(1000);
    this.#meter();
  }

  static async start(type: string): Promise<Recorder> {
    const audio = { echoCancellation: true, noiseSuppression: true, channelCount: 1 };
    return new Recorder(await navigator.mediaDevices.getUserMedia({ audio }), type);
  }

  #meter(): void {
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = 512;
    this.#context.createMediaStreamSource(this.#stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const look = () => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
      // -60 dB is silence, -10 dB is loud.
      this.level.value = Math.max(0, Math.min(1, (10 * Math.log10(power + 1e-9) + 60) / 50));
      this.seconds.value = Math.floor((performance.now() - this.#begun) / 1000);
      if (this.seconds.value >= longest) {
        this.#recorder.stop();
      } else {
        this.#frame = requestAnimationFrame(look);
      }
    };
    look();
  }

  #off(): void {
    if (this.#context.state === "closed") {
      return;
    }
    cancelAnimationFrame(this.#frame);
    for (const track of this.#stream.getTracks()) {
      track.stop();
    }
    void this.#context.close();
  }

  /** The recording and its length. */
  async finish(): Promise<{ voice: Blob; seconds: number }> {
    const seconds = Math.min(longest, (performance.now() - this.#begun) / 1000);
    if (this.#recorder.state !== "inactive") {
      await new Promise((done) => {
        this.#recorder.addEventListener("stop", done, { once: true });
        this.#recorder.stop();
      });
    }
    this.#off();
    return {
      voice: new Blob(this.#chunks, { type: this.#recorder.mimeType }),
      seconds: Math.max(1, Math.round(seconds)),
    };
  }

  cancel(): void {
    if (this.#recorder.state !== "inactive") {
      this.#recorder.stop();
    }
    this.#off();
  }
}
