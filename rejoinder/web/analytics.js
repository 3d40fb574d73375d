// The dashboard. Whatever others wrote is put in as text, never as HTML.
import { call, key } from "./api.js";
import { Chart, html, short } from "./charts.js";

const $ = (id) => document.getElementById(id);
const PAGE = 20, DAY_MS = 86400000;
const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`);
const ms = (value) => (value === null || value === undefined ? "–" : value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value)} ms`);
const money = (value) => (value > 0 && value < 0.01 ? value.toPrecision(2) : value.toFixed(2));
// Times of the analytics are UTC without a zone.
const time = (text) => new Date(`${text.replace(" ", "T")}Z`);
const sum = (rows, name) => rows.reduce((all, row) => all + (row[name] ?? 0), 0);
let offset = 0, asked = 0;

const charts = {
  sessions: new Chart($("charts"), { title: "Sessions", form: "bars", x: "period", series: [{ key: "sessions", label: "sessions" }] }),
  questions: new Chart($("charts"), { title: "Questions", form: "bars", x: "period", series: [{ key: "questions", label: "detected" }, { key: "answered", label: "answered" }] }),
  latency: new Chart($("charts"), { title: "Wait for an answer's first words", form: "lines", x: "period", format: ms,
    series: [{ key: "first_words_p50_ms", label: "p50" }, { key: "first_words_p90_ms", label: "p90" }, { key: "first_words_p99_ms", label: "p99" }] }),
  talk: new Chart($("charts"), { title: "Your part of the talk", form: "lines", x: "period", format: percent, series: [{ key: "talk_ratio_p50", label: "median share" }] }),
  pace: new Chart($("charts"), { title: "Your words per minute", form: "lines", x: "period", series: [{ key: "user_wpm_p50", label: "words/min" }] }),
  nudges: new Chart($("charts"), { title: "Hints on your talk", form: "across", x: "kind", series: [{ key: "nudges", label: "hints" }, { key: "per_hour", label: "in an hour of your talk" }] }),
  topics: new Chart($("charts"), { title: "Topics", form: "across", x: "topic", series: [{ key: "sessions", label: "sessions" }] }),
  tokens: new Chart($("charts"), { title: "Answers by model", form: "across", x: "by", series: [{ key: "answers", label: "answers" }, { key: "prompt_tokens", label: "prompt tokens" }, { key: "answer_tokens", label: "answer tokens" }] }),
  usage: new Chart($("charts"), { title: "Usage", form: "across", x: "what", series: [{ key: "amount", label: "amount" }] }),
  cost: new Chart($("charts"), { title: "Cost", form: "bars", x: "period", series: [{ key: "cost", label: "cost of what has a price" }] }),
  ratings: new Chart($("charts"), { title: "Ratings of answers", form: "bars", x: "period", series: [{ key: "useful", label: "useful" }, { key: "wrong", label: "wrong" }] }),
};

function say(text, state = "") { $("state").textContent = text; $("state").dataset.state = state; }

function query(more = {}) {
  const days = Number($("range").value), now = Date.now();
  const wanted = { since: new Date(now - days * DAY_MS).toISOString(), group: $("group").value, kind: $("kind").value, ...more };
  return new URLSearchParams(wanted).toString();
}

async function tried(work) {
  const mine = asked;
  try { return await work(); } catch (error) {
    if (error.status === 401) { $("key-form").hidden = false; say("an API key is needed"); $("key").focus(); }
    else say(error.message, "failed");
    if (error.status === 503) setTimeout(() => { if (asked === mine) all(); }, 1000);
    return undefined;
  }
}

function named(rows) {
  const month = $("group").value === "month";
  return rows.map((row) => ({ ...row, period: month ? row.period.slice(0, 7) : row.period.slice(5, 10) }));
}

// Periods in which nothing happened are shown as such.
function filled(rows) {
  const group = $("group").value, found = new Map(rows.map((row) => [row.period.slice(0, 10), row]));
  if (!rows.length || group === "month") return rows;
  const step = group === "week" ? 7 : 1, made = [];
  for (let at = time(rows[0].period); at <= time(rows.at(-1).period); at = new Date(at.getTime() + step * DAY_MS)) {
    const day = at.toISOString().slice(0, 10);
    made.push(found.get(day) ?? { period: day });
  }
  return made;
}

function tiles(board) {
  const whole = board.latency_total[0], questions = sum(board.questions, "questions"), answered = sum(board.questions, "answered");
  const tokens = sum(board.answers_by, "prompt_tokens") + sum(board.answers_by, "answer_tokens");
  const useful = sum(board.feedback, "useful"), rated = useful + sum(board.feedback, "wrong");
  const priced = board.usage.filter((one) => one.cost !== null), without = sum(board.cost, "without_cost"), metered = sum(board.cost, "n");
  const cost = priced.length ? `${money(sum(priced, "cost"))} ${priced[0].currency}` : "unknown";
  const shown = [
    ["Sessions", short(sum(board.sessions, "sessions")), ""], ["Minutes", short(Math.round(sum(board.talk, "minutes"))), "of talk"],
    ["Questions", short(questions), `${sum(board.questions, "heard")} heard`], ["Answered", questions ? percent(answered / questions) : "–", `${answered} of ${questions}`],
    ["First words", ms(whole.first_words_p50_ms), `p90 ${ms(whole.first_words_p90_ms)}, n ${whole.first_words_n}`], ["Tokens", short(tokens), "where the model tells"],
    ["Cost", metered ? cost : "–", without ? `without ${short(without)} of ${short(metered)} amounts: no price or not told` : metered ? "everything has a price" : "nothing was metered"],
    ["Useful", rated ? percent(useful / rated) : "–", `${useful} of ${rated} rated`],
  ];
  $("tiles").replaceChildren(...shown.map(([name, value, note]) => html("div", { class: "tile" }, html("dt", {}, name), html("dd", {}, value, html("small", {}, note)))));
}

function hints(rows, hours) {
  const told = sum(rows, "nudges");
  const note = !told ? "Hints are given where REJOINDER_NUDGES is on." : hours ? `${told} in ${short(hours)} h of your talk: ${short(told / hours)} an hour` : `${told}`;
  charts.nudges.show(rows.map((row) => ({ ...row, kind: row.kind.replace("_", " "), per_hour: hours ? row.nudges / hours : null })), note);
}

async function board(mine) {
  const found = await tried(() => call("GET", `/api/analytics/dashboard?${query()}`));
  if (!found || mine !== asked) return;
  say(`${found.range.since.slice(0, 10)} to ${found.range.until.slice(0, 10)}`, "live");
  tiles(found);
  for (const name of ["sessions", "questions", "latency", "talk"]) charts[name].show(named(filled(found[name])));
  charts.pace.show(named(filled(found.talk)));
  hints(found.nudges, sum(found.talk, "user_minutes") / 60);
  charts.topics.show(found.topics.slice(0, 10));
  charts.tokens.show(found.answers_by.map((one) => ({ ...one, by: one.model || one.mode })));
  for (const name of ["cost", "feedback"]) charts[name === "cost" ? name : "ratings"].show(named(filled(found[name])));
  $("costs").replaceChildren(...found.usage.map((one) => html("tr", {}, html("th", { scope: "row" }, one.what.replace("_", " ")), html("td", {}, one.model || "–"),
    html("td", {}, one.amount === null ? "not told" : short(Math.round(one.amount))), html("td", {}, one.not_told ? `${one.not_told} of ${one.n}` : "–"),
    html("td", {}, one.unpriced ? "no price" : one.cost === null ? "unknown" : `${money(one.cost)} ${one.currency}`))));
  if (!found.usage.length) $("costs").append(html("tr", {}, html("td", { colspan: "5" }, "Nothing was metered in this range.")));
  charts.usage.show(found.usage.map((one) => ({ ...one, what: [one.what, one.model].filter(Boolean).join(", ") })));
  $("failures").replaceChildren(...found.failures.map((one) => html("li", {}, `${one.reason}: ${one.answers}`)));
  if (!found.failures.length) $("failures").append(html("li", {}, "No answer failed."));
}

const measured = (one, value) => (value === null ? "–" : one.unit === "share" ? `${(value * 100).toFixed(1)} points` : `${short(value)} ${one.unit}`);

async function trends(mine) {
  const found = await tried(() => call("GET", `/api/analytics/performance-trends?${query()}`));
  if (!found || mine !== asked) return;
  const told = found.trends.filter((one) => one.n > 0);
  $("trends").replaceChildren(...told.map((one) => html("tr", {}, html("th", { scope: "row" }, one.what), html("td", {}, one.kind), html("td", {}, String(one.n)),
    html("td", { class: `verdict ${one.verdict === "rising" || one.verdict === "falling" ? "clear" : ""}` }, one.verdict),
    html("td", {}, measured(one, one.per_week)), html("td", {}, one.low === null ? "–" : `${measured(one, one.low)} to ${measured(one, one.high)}`))));
  if (!told.length) $("trends").append(html("tr", {}, html("td", { colspan: "6" }, "No sessions in this range.")));
}

async function sessions(mine) {
  const found = await tried(() => call("GET", `/api/analytics/sessions?${query({ limit: PAGE, offset })}`));
  if (!found || mine !== asked) return;
  $("sessions").replaceChildren(...found.sessions.map((one) => html("tr", {},
    html("th", { scope: "row" }, html("button", { type: "button", class: "link", onclick: () => session(one.session_id) }, one.title || one.kind)),
    html("td", {}, time(one.opened_at).toLocaleString()), html("td", {}, one.kind), html("td", {}, one.length_s === null ? "–" : `${(one.length_s / 60).toFixed(1)} min`),
    html("td", {}, percent(one.talk_ratio)), html("td", {}, String(one.questions)), html("td", {}, String(one.answered)), html("td", {}, ms(one.first_words_p50_ms)))));
  if (!found.sessions.length) $("sessions").append(html("tr", {}, html("td", { colspan: "8" }, "No sessions in this range.")));
  $("newer").disabled = offset === 0;
  $("older").disabled = found.next_offset === null;
}

let minutes = null;
async function session(id) {
  const found = await tried(() => call("GET", `/api/analytics/sessions/${encodeURIComponent(id)}`));
  if (!found) return;
  $("one-title").textContent = found.summary.title || found.summary.kind;
  $("one").showModal();
  $("one-chart").replaceChildren();
  minutes = new Chart($("one-chart"), { title: "Words by minute", form: "bars", x: "minute", series: [{ key: "user_words", label: "you" }, { key: "other_words", label: "others" }] });
  minutes.show(found.minutes);
  $("one-speakers").replaceChildren(...found.speakers.map((one) => html("tr", {}, html("th", { scope: "row" }, one.name), html("td", {}, String(one.words)), html("td", {}, `${Math.round(one.talk_s)} s`), html("td", {}, `${Math.round(one.longest_s)} s`))));
  $("one-questions").replaceChildren(...found.questions.map((one) => html("tr", {}, html("th", { scope: "row" }, `${Math.floor(one.start_s / 60)}:${String(Math.floor(one.start_s % 60)).padStart(2, "0")}`),
    html("td", {}, one.kind), html("td", {}, one.withdrawn ? "taken back" : one.outcome === "failed" ? `failed: ${one.reason}` : one.outcome ?? "open"), html("td", {}, one.model || one.mode || "–"), html("td", {}, ms(one.first_words_ms)), html("td", {}, one.verdict ?? "–"))));
}

async function insights() {
  const body = { since: new URLSearchParams(query()).get("since"), kind: $("kind").value };
  const found = await tried(() => call("POST", "/api/analytics/generate-insights", body));
  if (!found) return;
  $("insights").replaceChildren(...found.insights.map((one) => html("li", {}, html("p", {}, one.text),
    html("details", {}, html("summary", {}, `n ${one.n}; ${one.interval}; how it was found`), html("pre", { tabindex: "0" }, one.query)))));
  if (!found.insights.length) $("insights").append(html("li", {}, "Too little in this range to say anything."));
}

async function kinds() {
  const found = await tried(() => call("GET", `/api/analytics/learning-patterns?${query({ kind: "" })}`));
  if (!found) return;
  const chosen = $("kind").value, there = found.talk_by_kind.map((one) => one.kind);
  if (chosen && !there.includes(chosen)) there.push(chosen);
  $("kind").replaceChildren(html("option", { value: "" }, "all"), ...there.map((one) => html("option", { value: one, selected: one === chosen }, one)));
}

async function all() {
  asked += 1;
  const mine = asked;
  await Promise.all([board(mine), trends(mine), sessions(mine), kinds()]);
}

for (const name of ["range", "group", "kind"]) $(name).addEventListener("change", () => { offset = 0; $("insights").replaceChildren(); all(); });
$("newer").addEventListener("click", () => { offset = Math.max(0, offset - PAGE); sessions(asked); });
$("older").addEventListener("click", () => { offset += PAGE; sessions(asked); });
$("find").addEventListener("click", insights);
$("key-form").addEventListener("submit", (event) => { event.preventDefault(); key.set($("key").value); $("key").value = ""; $("key-form").hidden = true; all(); });
setInterval(() => { if (document.visibilityState === "visible" && !$("one").open && $("key-form").hidden) all(); }, 15000);
all();
