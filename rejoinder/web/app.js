// The console: everything that was said or written by others is put in as text, never as HTML.
import { call, follow, key } from "./api.js";
import { consentOf, ended, refresh } from "./consent.js";
import { $, make } from "./dom.js";
import { record } from "./sound.js";

const SHOWN = 300, MOST = 2000;
let session = null, stop = null, people = new Map(), strangers = new Set(), captions = [], shownFrom = 0, cards = new Map();

function say(text, state = "") { $("state").textContent = text; $("state").dataset.state = state; }

function askForKey() { $("key-form").hidden = false; say("an API key is needed"); $("key").focus(); }

async function tried(work) {
  try { return await work(); } catch (error) {
    if (error.status === 401) askForKey();
    else say(error.message, "failed");
    return undefined;
  }
}

async function listSessions() {
  const found = await tried(() => call("GET", "/api/sessions"));
  $("sessions").replaceChildren(...(found?.sessions ?? []).map((one) => make("li", {},
    make("button", { type: "button", "aria-current": String(one.session_id === session?.session_id), onclick: () => choose(one.session_id) },
      one.title || one.kind, make("small", {}, `${new Date(one.opened_at).toLocaleString()}${one.closed_at ? ", ended" : ""}`)))));
}

async function listDocuments() {
  const found = await tried(() => call("GET", "/api/knowledge"));
  $("documents").replaceChildren(...(found?.documents ?? []).map((one) => make("li", {},
    make("button", { type: "button", onclick: () => showSource(one.document_id) }, one.title, make("small", {}, one.source === "resume" ? "resume" : one.collection)),
    make("button", { type: "button", "aria-label": `Delete ${one.title}`, onclick: async () => { await tried(() => call("DELETE", `/api/knowledge/${one.document_id}`)); listDocuments(); } }, "×"))));
}

async function choose(id) {
  const found = await tried(() => call("GET", `/api/sessions/${id}`));
  if (!found) return;
  stop?.abort();
  stop = new AbortController();
  session = found;
  people = new Map(found.participants.map((one) => [one.id, one]));
  captions = []; shownFrom = 0; cards = new Map(); strangers = new Set();
  for (const pane of ["captions", "answers"]) $(pane).replaceChildren();
  $("interim").textContent = "";
  endNudge();
  consentOf(found, tried);
  $("session-title").textContent = found.title || found.kind;
  $("sound").hidden = $("end").hidden = Boolean(found.closed_at); $("delete").hidden = $("report").hidden = false;
  $("report").href = `coaching.html?session=${encodeURIComponent(id)}`;
  listSessions();
  follow(id, { signal: stop.signal, onEvent: take, onState: (state, status) => {
    if (status === 401) askForKey();
    else say(state, state);
  } });
}

function take(event) {
  if (event.type === "caption") takeCaption(event);
  else if (event.type === "question") takeQuestion(event);
  else if (event.type === "question_withdrawn") settle(event.question_id, "failed", "withdrawn");
  else if (event.type === "answer_delta") takeDelta(event);
  else if (event.type === "answer") takeAnswer(event);
  else if (event.type === "feedback") takeFeedback(event);
  else if (event.type === "answer_failed") { if (event.reason !== "superseded") settle(event.question_id, "failed", `no answer: ${event.reason} ${event.detail}`); }
  else if (event.type === "nudge") takeNudge(event);
  else if (event.type === "joined") { people.set(event.participant.id, event.participant); refresh(); }
  else if (event.type === "consent") refresh();
  else if (event.type === "audio_gap") $("interim").textContent = `(no sound came for ${(event.end_s - event.start_s).toFixed(1)} s)`;
  else if (event.type === "transcription_lag") $("interim").textContent = event.behind_s > 0 ? `(captions are ${Math.round(event.behind_s)} s behind)` : "";
  else if (event.type === "closed") { $("sound").hidden = $("end").hidden = true; ended(); listSessions(); }
  else if (event.type === "lag") say(event.behind_s > 1 ? `${Math.round(event.behind_s)} s behind (${Object.entries(event.stages).sort((a, b) => b[1] - a[1])[0][0].replace("_", " ")})` : "live", "live");
  else if (event.type === "resync") { captions = []; shownFrom = 0; cards = new Map(); $("captions").replaceChildren(); $("answers").replaceChildren(); }
}

const nameOf = (id) => people.get(id)?.name || id?.replace(/^.*-speaker-(\d+)$/, "Speaker $1") || "Unknown";

// One hint at a time, for as long as it is news and until the user speaks again; those of a replayed stream are old.
const NUDGE_MS = 20000;
let nudgeEnds = null;
function takeNudge(nudge) {
  if (Date.now() - Date.parse(nudge.created_at) > NUDGE_MS) return;
  $("nudge").textContent = nudge.text;
  clearTimeout(nudgeEnds);
  nudgeEnds = setTimeout(endNudge, NUDGE_MS);
}
function endNudge() { clearTimeout(nudgeEnds); $("nudge").textContent = ""; }

function takeCaption(caption) {
  if (people.get(caption.speaker)?.is_user) endNudge();
  if (!caption.final) { $("interim").textContent = `${nameOf(caption.speaker)}: ${caption.text}`; return; }
  $("interim").textContent = "";
  if (!caption.text) return;
  // Somebody new: the ledger shows them once their words have gone through.
  if (caption.speaker && !people.has(caption.speaker) && !strangers.has(caption.speaker)) { strangers.add(caption.speaker); setTimeout(refresh, 1500); }
  if (caption.revision > 0 && correctCaption(caption)) return;
  captions.push(caption);
  const box = $("captions"), low = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  addCaption(box, caption, captions.at(-2));
  // Who has scrolled up is reading: what they look at is not taken away until there is far too much of it.
  while (captions.length - shownFrom > (low ? SHOWN : MOST)) { shownFrom += 1; box.querySelector("p.said")?.remove(); }
  while (box.firstElementChild?.nextElementSibling?.classList.contains("who")) box.firstElementChild.remove();
  $("earlier").hidden = shownFrom === 0;
  if (low) box.scrollTop = box.scrollHeight;
}

// A caption whose speaker was corrected comes again under its id: it takes the place of the one before.
function correctCaption(caption) {
  const place = captions.findLastIndex((one) => one.caption_id === caption.caption_id);
  if (place < 0) return false;
  if (captions[place].revision >= caption.revision) return true;
  captions[place] = caption;
  if (place >= shownFrom) showFrom(shownFrom);
  return true;
}

function showFrom(first) {
  $("captions").replaceChildren();
  captions.slice(first).forEach((caption, number, all) => addCaption($("captions"), caption, all[number - 1]));
}

function addCaption(box, caption, before) {
  if (before?.speaker !== caption.speaker || !box.childElementCount) box.append(make("p", { class: "who" }, nameOf(caption.speaker)));
  box.append(make("p", { class: people.get(caption.speaker)?.is_user ? "said user" : "said" }, caption.text));
}

$("earlier").addEventListener("click", () => {
  shownFrom = Math.max(0, shownFrom - SHOWN);
  showFrom(shownFrom);
  $("earlier").hidden = shownFrom === 0;
  $("captions").scrollTop = 0;
});

function takeQuestion(question) {
  let card = cards.get(question.question_id);
  if (card && card.revision >= question.revision) return;
  if (!card) {
    const title = make("h4"), body = make("p"), note = make("div", { class: "note" });
    card = { title, body, note, node: make("article", { "data-status": "pending" }, title, body, note) };
    cards.set(question.question_id, card);
    $("answers").prepend(card.node);
  }
  Object.assign(card, { revision: question.revision, attempt: 0, answer: null, text: "" });
  card.rating?.remove();
  card.node.dataset.status = "pending";
  card.title.textContent = question.text;
  card.body.textContent = "";
  card.note.replaceChildren(`${question.origin === "asked" ? "asked by you" : question.speaker_name} · answering `,
    make("button", { type: "button", onclick: () => tried(() => call("POST", `/api/sessions/${session.session_id}/questions/${question.question_id}/cancel`)) }, "Stop"));
}

function takeDelta(delta) {
  const card = cards.get(delta.question_id);
  if (!card || card.revision !== delta.question_revision || card.node.dataset.status !== "pending") return;
  if (delta.attempt > card.attempt) { card.attempt = delta.attempt; card.text = ""; }
  card.text += delta.text;
  card.body.textContent = card.text;
}

function takeAnswer(answer) {
  const card = cards.get(answer.question_id);
  if (!card || card.revision !== answer.question_revision) return;
  card.node.dataset.status = "complete";
  const cited = new Map(answer.citations.map((one) => [String(one.marker), one]));
  card.body.replaceChildren(...answer.text.split(/(\[\d{1,2}\])/).map((part) => {
    const found = cited.get(part.slice(1, -1));
    return found && part.startsWith("[") ? citeButton(found) : part;
  }));
  const sources = answer.citations.map((one) => `[${one.marker}] ${one.title}`).join(" · ");
  card.note.textContent = `${answer.mode === "extractive" ? "quoted from your documents" : `written by ${answer.model}`}${sources ? ` · ${sources}` : ""}`;
  if (answer.answer_id) addRating(card, answer);
}

// A rating goes to the engine at once; words to it are sent after it, and both come back to every page on the stream.
const VERDICTS = { useful: "Useful", wrong: "Wrong" };
const ratings = new Map();

function addRating(card, answer) {
  const path = `/api/sessions/${answer.session_id ?? session.session_id}/answers/${answer.answer_id}/feedback`;
  const words = make("input", { type: "text", maxlength: 2000, "aria-label": "Comment on this answer", placeholder: "What is missing or wrong?" });
  const send = async (verdict) => {
    const stored = await tried(() => call("POST", path, { verdict, comment: words.value }));
    if (stored) takeFeedback(stored);
  };
  const buttons = Object.entries(VERDICTS).map(([verdict, name]) => make("button", { type: "button", "aria-pressed": "false", "data-verdict": verdict, onclick: () => send(verdict) }, name));
  const form = make("form", { hidden: true, onsubmit: (event) => { event.preventDefault(); send(ratings.get(answer.answer_id).verdict); } }, words, make("button", {}, "Send"));
  card.rating?.remove();
  card.rating = make("div", { class: "rating", role: "group", "aria-label": "Rate this answer" }, ...buttons, form);
  Object.assign(card, { answer: answer.answer_id, words, form });
  card.node.append(card.rating);
  if (ratings.has(answer.answer_id)) takeFeedback(ratings.get(answer.answer_id));
}

function takeFeedback(rating) {
  ratings.set(rating.answer_id, rating);
  const card = cards.get(rating.question_id);
  if (!card?.rating || card.answer !== rating.answer_id) return;
  for (const button of card.rating.querySelectorAll("[data-verdict]")) button.setAttribute("aria-pressed", String(button.dataset.verdict === rating.verdict));
  card.form.hidden = false;
  if (document.activeElement !== card.words || !card.words.value) card.words.value = rating.comment;
}

const citeButton = (cited) => make("button", { type: "button", class: "cite", "aria-label": `Source ${cited.marker}: ${cited.title}`, onclick: () => showSource(cited.document_id, cited) }, `[${cited.marker}]`);

function settle(id, status, text) {
  const card = cards.get(id);
  if (!card || card.node.dataset.status === "complete") return;
  card.node.dataset.status = status;
  card.note.replaceChildren(make("span", { class: "failed" }, text));
}

async function showSource(id, cited) {
  const found = await tried(() => call("GET", `/api/knowledge/${id}`));
  $("source-title").textContent = found?.title ?? cited?.title ?? "Gone";
  const text = found?.text ?? cited?.quote ?? "This document was deleted.";
  const chars = [...text]; // the engine counts characters, the browser's slice counts UTF-16 units
  const part = (from, to) => chars.slice(from, to).join("");
  if (found && cited) $("source-text").replaceChildren(part(0, cited.start), make("mark", {}, part(cited.start, cited.end)), part(cited.end));
  else $("source-text").textContent = text;
  $("source").showModal();
  $("source-text").querySelector("mark")?.scrollIntoView({ block: "center" });
}

// Recordings are shown for as long as they run, whichever session is looked at.
const RECORDING_WORDS = { recording: "Recording", reconnecting: "Recording, kept here until the engine is back:" };
let recordings = 0;
for (const kind of ["microphone", "tab"]) $(kind).addEventListener("click", async () => {
  const named = kind === "tab" ? "tab's sound" : "microphone", title = session.title || session.kind;
  const said = make("span", { role: "status" }, `Starting ${named}`), level = make("meter", { "aria-label": `Level of ${named}`, min: 0, max: 1 });
  const stopButton = make("button", { type: "button" }, "Stop"), row = make("li", { "data-state": "starting" }, said, level, stopButton);
  const leave = () => { if (row.isConnected) { row.remove(); recordings -= 1; document.title = recordings ? "\u25cf Rejoinder" : "Rejoinder"; } };
  $("sound-said").textContent = "";
  $(kind).disabled = true;
  try {
    const stopRecording = await record(kind, {
      session: session.session_id,
      participant: kind === "microphone" ? session.participants.find((one) => one.is_user)?.id : undefined,
      onLevel: (value) => { level.value = Math.sqrt(value); },
      onState: (state, reason) => {
        row.dataset.state = state;
        if (RECORDING_WORDS[state]) said.textContent = `${RECORDING_WORDS[state]} ${named} for ${title}`;
        else leave();
        if (state === "failed") $("sound-said").textContent = `The recording was ended: ${reason}`;
      },
    });
    stopButton.addEventListener("click", () => { said.textContent = `Storing the rest of ${named}`; stopRecording(); });
    $("recordings").append(row);
    recordings += 1;
    document.title = "\u25cf Rejoinder";
  } catch (error) {
    $("sound-said").textContent = error.name === "NotAllowedError" ? `The browser does not allow the ${named}` : error.message;
  }
  $(kind).disabled = false;
});
$("demo").addEventListener("click", async () => {
  say("starting the demo meeting");
  const started = await tried(() => call("POST", "/api/demo", { meeting: $("demo-name").value, speed: 8 }));
  if (started) { await choose(started.session_id); listDocuments(); }
});
$("new-session").addEventListener("submit", async (event) => {
  event.preventDefault();
  const opened = await tried(() => call("POST", "/api/sessions", { title: $("new-title").value, kind: $("new-kind").value, participants: [] }));
  if (opened) choose(opened.session_id);
});
$("end").addEventListener("click", () => tried(() => call("POST", `/api/sessions/${session.session_id}/end`)));
$("delete").addEventListener("click", async () => {
  if (!confirm("Delete this session and everything stored of it?")) return;
  stop?.abort();
  await tried(() => call("DELETE", `/api/sessions/${session.session_id}`));
  session = null; consentOf(null, tried); $("session-title").textContent = "No session"; $("sound").hidden = $("delete").hidden = $("report").hidden = $("end").hidden = true;
  $("captions").replaceChildren(); $("answers").replaceChildren(); say("deleted"); listSessions();
});
$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = $("ask-text").value, open = session && !session.closed_at && $("end").hidden === false;
  const answer = await tried(() => call("POST", "/api/ask", open ? { question, session_id: session.session_id } : { question }));
  if (!answer) return; // the words stay in the box, to be sent again
  if ($("ask-text").value === question) $("ask-text").value = "";
  if (open) return; // it comes through the session's stream
  takeQuestion({ question_id: answer.question_id, revision: 0, text: question, origin: "asked" });
  takeAnswer({ ...answer, question_revision: 0 });
});
$("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData();
  form.append("file", $("file").files[0]);
  $("upload-said").textContent = "reading ...";
  try {
    await call("POST", $("upload-as").value === "resume" ? "/api/resume" : "/api/knowledge", form);
    $("upload-said").textContent = "added";
    $("upload").reset();
  } catch (error) { $("upload-said").textContent = error.message; }
  listDocuments();
});
$("key-form").addEventListener("submit", (event) => { event.preventDefault(); key.set($("key").value); $("key-form").hidden = true; say("signed in"); listSessions(); listDocuments(); if (session) choose(session.session_id); });
listSessions();
listDocuments();
