// Calls to the engine; the key, when one is needed, stays in this tab.
export const key = { get: () => sessionStorage.getItem("key"), set: (value) => sessionStorage.setItem("key", value) };

const headers = (more = {}) => (key.get() ? { Authorization: `Bearer ${key.get()}`, ...more } : more);

export async function call(method, path, body) {
  const json = body !== undefined && !(body instanceof FormData);
  const reply = await fetch(path, {
    method, headers: headers(json ? { "Content-Type": "application/json" } : {}), body: json ? JSON.stringify(body) : body,
  });
  if (reply.status === 204) return null;
  const data = await reply.json().catch(() => ({}));
  if (!reply.ok) throw Object.assign(new Error(data.detail || data.title || reply.statusText), { status: reply.status });
  return data;
}

// Gives what a path serves, to be saved.
export async function load(path) {
  const reply = await fetch(path, { headers: headers() });
  if (!reply.ok) throw Object.assign(new Error(reply.statusText), { status: reply.status });
  return reply.blob();
}

// A heartbeat comes at least every 20 s; a connection that says nothing for this long is gone.
const SILENT_MS = 45000;

// Follows a session; after a drop it goes on from the last id, waiting longer each time, until the engine says it is over.
export async function follow(session, { signal, onEvent, onState }) {
  let cursor = null, failures = 0;
  while (!signal.aborted) {
    const one = new AbortController();
    const leave = () => one.abort();
    signal.addEventListener("abort", leave);
    let timer;
    const heard = () => { clearTimeout(timer); timer = setTimeout(leave, SILENT_MS); };
    heard();
    try {
      const reply = await fetch(`/api/sessions/${encodeURIComponent(session)}/stream`, {
        headers: headers({ Accept: "text/event-stream", ...(cursor ? { "Last-Event-ID": cursor } : {}) }), signal: one.signal,
      });
      if ([204, 401, 403, 404].includes(reply.status)) return onState(reply.status === 204 ? "ended" : "gone", reply.status);
      if (!reply.ok || !reply.body) throw new Error(String(reply.status));
      failures = 0;
      onState("live");
      const over = await read(reply.body, heard, (id, event) => { cursor = id || cursor; onEvent(event); });
      if (over) return onState("ended");
    } catch (error) {
      if (signal.aborted) return;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", leave);
    }
    failures += 1;
    onState("reconnecting");
    const wait = Math.min(10000, 300 * 2 ** Math.min(failures, 6)) * (0.5 + Math.random() / 2);
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function read(body, heard, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", over = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return over;
    heard();
    text += value.replaceAll("\r", "");
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      let id = null, data = "";
      for (const line of text.slice(0, end).split("\n")) {
        if (line.startsWith("id:")) id = line.slice(3).trim();
        else if (line.startsWith("data:")) data += line.slice(5).trim();
      }
      if (!data) continue;
      const event = JSON.parse(data);
      over ||= event.type === "end" && event.reason !== "server stopping";
      // A fault of the page is no fault of the connection: it is reported, and the stream goes on.
      try { onEvent(id, event); } catch (error) { reportError(error); }
    }
  }
}
