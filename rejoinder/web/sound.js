// Sends the microphone or a tab to the engine: every piece is kept until the engine says that it is stored.
import { key } from "./api.js";

const BLOCK_S = 0.1, MOST_KEPT = 6000, LATE_S = 1.5;
const FOR_GOOD = new Set([1000, 1009, 4400, 4401, 4403, 4404, 4409, 4410, 4413, 4422]);

// One track. Entries are numbered from `first`; an entry is PCM, or a gap: time for which there is no sound.
class TrackSender {
  constructor(session, track, start, onState) {
    Object.assign(this, { session, track, start, onState, entries: [], first: 0, told: 0, over: false, open: false, failures: 0 });
    this.connect();
  }

  connect() {
    const token = key.get(), address = new URL(`/api/sessions/${encodeURIComponent(this.session)}/audio`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.searchParams.set("track", this.track);
    if (token) address.searchParams.set("key", token);
    const socket = this.socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.open = false;
    this.reason = "";
    socket.onopen = () => socket.send(JSON.stringify({ type: "start", ...this.start }));
    socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      this.open = false;
      if (FOR_GOOD.has(code)) return this.onState(code === 1000 ? "ended" : "failed", this.reason || reason || `closed (${code})`);
      this.failures += 1;
      this.onState("reconnecting");
      setTimeout(() => this.connect(), Math.min(10000, 200 * 2 ** Math.min(this.failures, 6)) * (0.5 + Math.random() / 2));
    };
  }

  hear(message) {
    if (message.type === "error") { this.reason = message.detail || message.title; return; }
    if (message.type === "ready") {
      this.open = true;
      this.failures = 0;
      this.told = message.next;
      if (this.told < this.first) this.gap(this.first - 1, (this.first - this.told) * BLOCK_S);
      this.told = Math.max(this.told, this.first);
      this.onState("recording");
    }
    while (this.entries.length && this.first < message.keep) { this.entries.shift(); this.first += 1; }
    if (message.type === "resend") this.told = message.next;
    this.flush();
  }

  gap(number, seconds) { this.socket.send(JSON.stringify({ type: "gap", next: number + 1, duration_s: seconds })); }

  take(entry) {
    this.entries.push(entry);
    // So long a loss cannot be made good: the oldest half becomes a gap.
    if (this.entries.length > MOST_KEPT) { this.entries.splice(0, MOST_KEPT / 2); this.first += MOST_KEPT / 2; }
    this.flush();
  }

  flush() {
    // What the connection cannot take yet waits here, where it can be sent again.
    while (this.open && this.told < this.first + this.entries.length && this.socket.bufferedAmount < 500000) {
      const entry = this.entries[this.told - this.first];
      if (entry.gap) this.gap(this.told, entry.gap);
      else {
        const frame = new Uint8Array(8 + entry.pcm.byteLength);
        new DataView(frame.buffer).setBigUint64(0, BigInt(this.told));
        frame.set(new Uint8Array(entry.pcm), 8);
        this.socket.send(frame);
      }
      this.told += 1;
    }
    if (this.over && this.open && !this.endTold && this.told === this.first + this.entries.length) {
      this.endTold = true;
      this.socket.send(JSON.stringify({ type: "end" }));
    }
    if (!this.open) this.endTold = false;
  }

  end() { this.over = true; this.flush(); }
}

const ASKED = {
  microphone: () => navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } }),
  tab: () => navigator.mediaDevices.getDisplayMedia({ audio: true, video: true }),
};

// Starts to record; `onLevel` gets 0 to 1 ten times a second. Gives what stops it.
export async function record(kind, { session, participant, onState, onLevel }) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error("the browser gives sound to secure pages only: use https or this machine");
  const stream = await ASKED[kind]();
  const stopTracks = () => stream.getTracks().forEach((one) => one.stop());
  if (!stream.getAudioTracks().length) { stopTracks(); throw new Error("no sound was shared: tick the box for sound when you choose the tab"); }
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule("sound-worklet.js");
  } catch (error) { stopTracks(); context.close(); throw error; }
  const cutter = new AudioWorkletNode(context, "cutter", { numberOfOutputs: 0 });
  context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(cutter);
  await context.resume();
  const start = { format: "pcm16", rate_hz: context.sampleRate, ...(participant ? { participant } : {}) };
  let running = true;
  const sender = new TrackSender(session, `${kind}-${Date.now().toString(36)}`, start, (state, reason) => {
    if (state === "failed") stop();
    onState(state, reason);
  });
  let due = null;
  cutter.port.onmessage = ({ data }) => {
    if (!running) return;
    // A machine that slept heard nothing: that time is told as a gap, or everything after it would lie too early.
    const now = performance.now() / 1000;
    if (due !== null && now - due > LATE_S) { sender.take({ gap: now - due }); due = now; }
    due = (due ?? now) + BLOCK_S;
    sender.take({ pcm: data.pcm });
    onLevel(data.peak);
  };
  function stop() {
    if (!running) return;
    running = false;
    stopTracks();
    context.close();
    sender.end();
  }
  stream.getAudioTracks()[0].addEventListener("ended", stop);
  return stop;
}
