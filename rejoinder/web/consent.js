// Whether a session is listened to, who agreed to what, and for whom consent is missing: always visible.
import { call } from "./api.js";
import { $, make } from "./dom.js";

const WORDS = { audio: "sound is stored", captions: "words are written down", coaching: "coached on their talk", voice: "known by voice", remembering: "minutes kept for later" };
const SAID = { given: "agreed", withdrawn: "said no", missing: "not asked" };
let session = null, asked = 0, tried = (work) => work();

// Looks at another session, or at none; `attempt` shows what goes wrong.
export function consentOf(chosen, attempt) {
  session = chosen;
  tried = attempt;
  $("consent").hidden = !chosen;
  $("consent-state").textContent = "";
  $("consent-people").replaceChildren();
  if (chosen) return refresh();
}

export async function refresh() {
  if (!session) return;
  const mine = ++asked, id = session.session_id;
  const found = await tried(() => call("GET", `/api/sessions/${id}/consents`));
  if (found && mine === asked && id === session?.session_id) show(found);
}

export function ended() { if (session) { session = { ...session, closed_at: true }; refresh(); } }

async function record(consents) {
  const id = session.session_id;
  const found = await tried(() => call("POST", `/api/sessions/${id}/consents`, { consents }));
  asked += 1;
  if (found && id === session?.session_id) show(found);
}

function show(found) {
  const missing = found.people.filter((one) => found.missing.includes(one.participant_id));
  const doing = session.closed_at ? "This talk is over; nothing more is taken." : "A program listens to this talk: what comes in is stored, written down and answered.";
  const rule = session.closed_at ? "" : found.rule === "refuse" ? " Nothing of theirs is taken." : " Only what somebody said no to is not taken.";
  $("consent").dataset.state = session.closed_at ? "over" : missing.length ? "missing" : "agreed";
  $("consent-state").textContent = missing.length ? `${doing} Consent is missing: ${missing.map((one) => one.name).join(", ")}.${rule}` : `${doing}${found.people.length ? " Everybody agreed." : ""}`;
  $("notice").textContent = found.notice.text;
  $("all-agreed").hidden = !missing.length;
  $("all-agreed").onclick = () => record(missing.map((one) => entry(one, ["audio", "captions", ...(one.is_user ? ["coaching"] : [])].filter((purpose) => one.purposes[purpose] === "missing"), true, found.notice)).filter((one) => one.purposes.length));
  const focused = document.activeElement?.id;
  $("consent-people").replaceChildren(...found.people.map((one) => person(one, found.notice)));
  if (focused) document.getElementById(focused)?.focus();
}

const entry = (one, purposes, given, notice) => ({ participant_id: one.participant_id, name: one.name, purposes, given, method: "told", how: "on the console", text_version: notice.version });

const person = (one, notice) => make("fieldset", {}, make("legend", {}, one.is_user ? `${one.name} (you)` : one.name),
  ...Object.entries(one.purposes).filter(([purpose]) => purpose !== "coaching" || one.is_user).map(([purpose, agreed]) => {
    const box = make("input", { type: "checkbox", id: `consent-${one.participant_id}-${purpose}`, onchange: () => record([entry(one, [purpose], box.checked, notice)]) });
    box.checked = agreed === "given";
    return make("label", { class: "check", "data-agreed": agreed }, box, `${WORDS[purpose]}: ${SAID[agreed]}`);
  }));
