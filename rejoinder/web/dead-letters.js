// Dead letters: listed, corrected, put back. Values are put in as text, never as HTML.
import { call, key } from "./api.js";

const $ = (id) => document.getElementById(id);
let chosen = null;

function say(text, state = "") { $("state").textContent = text; $("state").dataset.state = state; }

async function tried(work) {
  try { return await work(); } catch (error) {
    if (error.status === 401 || error.status === 403) { $("key-form").hidden = false; $("key").focus(); }
    say(error.message, "failed");
    return undefined;
  }
}

const stateOf = (one) => (one.redriven ? "put back" : one.fixed ? "corrected" : "waiting");

async function list() {
  const found = await tried(() => call("GET", `/api/dead-letters?waiting=${$("waiting").checked}`));
  if (!found) return;
  $("letters").replaceChildren(...found.letters.map((one) => {
    const item = document.createElement("li"), button = document.createElement("button"), small = document.createElement("small");
    button.type = "button";
    button.setAttribute("aria-current", String(one.letter_id === chosen));
    small.textContent = `${one.reason} - ${new Date(one.created_at).toLocaleString()}, ${stateOf(one)}`;
    button.append(`${one.topic}, offset ${one.offset}, flow ${one.flow}`, small);
    button.addEventListener("click", () => show(one.letter_id, true));
    item.append(button);
    return item;
  }));
  if (!found.letters.length) say("no dead letters");
  return found;
}

function decoded(base64) { return new TextDecoder().decode(Uint8Array.from(atob(base64), (one) => one.charCodeAt(0))); }

async function show(id, focus = false) {
  const one = await tried(() => call("GET", `/api/dead-letters/${encodeURIComponent(id)}`));
  if (!one) return;
  chosen = id;
  $("one").hidden = false;
  $("one-title").textContent = `${one.topic}, offset ${one.offset}: ${stateOf(one)}`;
  $("one-reason").textContent = one.reason;
  const binary = one.text === null && one.fix_base64 === null;
  $("value").value = one.fix_base64 !== null ? decoded(one.fix_base64) : one.text ?? "";
  $("value").placeholder = binary ? "The value is not text. Write the whole record here, or correct it with rejoinder dead-letters fix." : "";
  $("fix").disabled = $("redrive").disabled = one.redriven;
  list();
  if (focus) $("one-title").focus();
}

$("fix").addEventListener("click", async () => {
  const done = await tried(() => call("POST", `/api/dead-letters/${encodeURIComponent(chosen)}/fix`, { text: $("value").value }));
  if (done) { say("kept; it can be put back"); show(chosen); }
});
$("redrive").addEventListener("click", async () => {
  const done = await tried(() => call("POST", `/api/dead-letters/${encodeURIComponent(chosen)}/redrive`));
  if (done) { say(done.repeat ? "it had been put back before" : `put back: ${done.topic}, offset ${done.offset}`); show(chosen); }
});
$("waiting").addEventListener("change", list);
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set($("key").value);
  $("key-form").hidden = true;
  say("");
  list();
});
list();
