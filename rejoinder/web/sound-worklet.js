// Runs beside the sound card: cuts what is heard into tenths of a second of PCM16, with how loud it was.
class Cutter extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate / 10));
    this.at = 0;
    this.peak = 0;
  }

  process([input]) {
    const channels = input.length;
    for (let one = 0; channels && one < input[0].length; one += 1) {
      let value = 0;
      for (const channel of input) value += channel[one] / channels;
      value = Math.max(-1, Math.min(1, value));
      this.peak = Math.max(this.peak, Math.abs(value));
      this.block[this.at++] = Math.round(value * 32767);
      if (this.at === this.block.length) {
        this.port.postMessage({ pcm: this.block.buffer, peak: this.peak }, [this.block.buffer]);
        this.block = new Int16Array(Math.round(sampleRate / 10));
        this.at = this.peak = 0;
      }
    }
    return true;
  }
}
registerProcessor("cutter", Cutter);
