// The report after a talk: question, what was said, measures, parts of a story, a stronger version.
import { call, key, load } from "./api.js";
import { $, make } from "./dom.js";

const session = new URLSearchParams(location.search).get("session") ?? "";
const path = `/api/sessions/${encodeURIComponent(session)}`;
const number = (value, unit = "", digits = 0) => (value === null ? "not known" : `${value.toFixed(digits)}${unit}`);
const percent = (value) => number(value === null ? null : 100 * value, " %");
const PARTS = ["situation", "task", "action", "result"];

function say(text, state = "") { $("state").textContent = text; $("state").dataset.state = state; }

async function tried(work) {
  try { return await work(); } catch (error) {
    if (error.status === 401) { $("key-form").hidden = false; $("key").focus(); }
    say(error.status === 404 ? "there is no such session" : error.message, "failed");
    return undefined;
  }
}

const measures = (rows) => rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));

const whole = (report) => measures([
  ["Your share of the talk", percent(report.talk_ratio)],
  ["Words a minute", number(report.pace_wpm)],
  ["Fillers in 100 words, at least", number(report.fillers_per_100, "", 1)],
  ["Longest stretch", number(report.longest_monologue_s, " s")],
]);

const perAnswer = (one) => measures([
  ["Length", number(one.length_s, " s")],
  ["Words", String(one.words)],
  ["Words a minute", number(one.pace_wpm)],
  ["Fillers in 100 words", number(one.fillers_per_100, "", 1)],
  ["Repeats and restarts in 100", number(one.repairs_per_100, "", 1)],
  ["Words before the answer", number(one.direct_after_words)],
  ["\u201cI\u201d among \u201cI\u201d and \u201cwe\u201d", percent(one.ownership)],
  ["Figures and names in 100", number(one.specifics_per_100, "", 1)],
  ["Question taken up", percent(one.taken_up)],
]);

const row = (source, name, text, small) => make("li", { "data-source": source }, make("b", {}, name), make("span", {}, text), ...(small ? [make("small", {}, small)] : []));

function coverage(one) {
  const found = new Map(one.star.map((part) => [part.part, part.quote]));
  return [make("h4", {}, `Parts of a story: ${found.size} of ${PARTS.length}`),
    make("ol", {}, ...PARTS.map((part) => row(found.has(part) ? "said" : "missing", part, found.get(part) ?? "not found")))];
}

const SOURCES = { said: "your words", missing: "neither said nor in the documents that were cited" };
const stronger = (one) => [make("h4", {}, "Stronger, from your own facts"),
  make("ol", {}, ...one.stronger.map((line) => row(line.source, line.part, line.text, line.citation ? `from ${line.citation.title}` : SOURCES[line.source])))];

function section(one, place) {
  const id = `question-${place}`;
  return make("section", { "aria-labelledby": id },
    make("h3", { id }, one.question),
    make("h4", {}, "What you said"), make("blockquote", {}, one.said),
    ...(one.flags.length ? [make("ul", { class: "flags", "aria-label": "Stands out" }, ...one.flags.map((flag) => make("li", {}, flag)))] : []),
    make("dl", { class: "measures" }, ...perAnswer(one)),
    ...(one.behavioural ? coverage(one) : []),
    ...stronger(one),
    ...(one.suggested ? [make("details", {}, make("summary", {}, one.suggested.mode === "model" ? `Suggested at the time, written by ${one.suggested.model}` : "Suggested at the time, quoted from your documents"), make("p", {}, one.suggested.text))] : []));
}

async function show() {
  const found = await tried(() => call("GET", path));
  const report = found && await tried(() => call("GET", `${path}/coaching`));
  if (!report) return;
  $("title").textContent = found.title || found.kind;
  $("whole").replaceChildren(...whole(report));
  $("answers-report").replaceChildren(...report.answers.map(section));
  for (const id of ["whole", "note", "markdown", "json"]) $(id).hidden = false;
  say(report.answers.length ? `${report.answers.length} answered` : "no question was answered by you yet", "done");
}

for (const [form, ending] of [["markdown", "md"], ["json", "json"]]) $(form).addEventListener("click", async () => {
  const file = await tried(() => load(`${path}/coaching?format=${form}`));
  if (!file) return;
  const link = make("a", { href: URL.createObjectURL(file), download: `how-you-answered.${ending}` });
  link.click();
  URL.revokeObjectURL(link.href);
});
$("key-form").addEventListener("submit", (event) => { event.preventDefault(); key.set($("key").value); $("key-form").hidden = true; show(); });
show();
