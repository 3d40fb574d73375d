// Small charts in SVG: bars, lines, horizontal bars; each with a table of its numbers, and PNG and CSV of it.
const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 220, LEFT = 46, RIGHT = 12, TOP = 12, BOTTOM = 26;

export const html = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
};
const svg = (tag, attributes = {}, text) => {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
};

// 1, 2 or 5 times a power of ten, so that about four lines fill the height.
function ticks(most, whole) {
  if (!(most > 0)) return [0, 1];
  const rough = whole ? Math.max(1, most / 4) : most / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = 0; at < most + step * 0.999; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

export const short = (value) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return String(Number(value.toPrecision(2)));
};

// One chart. `rows`: objects; `x`: the column of the labels; `series`: [{key, label}]; `form`: bars, lines or across.
export class Chart {
  constructor(place, { title, form, x, series, unit = "", format = short, note = "" }) {
    Object.assign(this, { form, x, series, unit, format, title, rows: [] });
    this.figure = html("figure", { class: "chart" });
    this.note = html("p", { class: "note" }, note);
    this.drawing = html("div", { class: "drawing" });
    this.legend = html("p", { class: "legend", "aria-hidden": "true" });
    this.table = html("table");
    const name = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
    this.figure.append(
      html("figcaption", {}, html("h3", {}, title),
        html("span", { class: "tools" },
          html("button", { type: "button", "aria-label": `${title} as PNG`, onclick: () => this.png(`${name}.png`) }, "PNG"),
          html("button", { type: "button", "aria-label": `${title} as CSV`, onclick: () => this.csv(`${name}.csv`) }, "CSV"))),
      this.note, this.legend, this.drawing,
      html("details", {}, html("summary", {}, "Numbers"), html("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `${title}: numbers` }, this.table)));
    place.append(this.figure);
    new ResizeObserver(() => this.draw()).observe(this.drawing);
  }

  show(rows, note) {
    this.rows = rows;
    if (note !== undefined) this.note.textContent = note;
    const heads = [this.x, ...this.series.map((one) => one.key)];
    this.table.replaceChildren(
      html("thead", {}, html("tr", {}, ...["", ...this.series.map((one) => one.label)].map((one) => html("th", { scope: "col" }, one || this.x)))),
      html("tbody", {}, ...rows.map((row) => html("tr", {}, ...heads.map((key, at) => at ? html("td", {}, this.format(row[key])) : html("th", { scope: "row" }, String(row[key])))))));
    this.legend.replaceChildren(...(this.series.length > 1 && this.form !== "across" ? this.series.map((one, at) => html("span", { class: `key k${at}` }, one.label)) : []));
    this.drawn = 0;
    this.draw();
  }

  draw() {
    const width = Math.floor(this.drawing.clientWidth);
    if (!width || width === this.drawn) return;
    this.drawn = width;
    const drawn = this.form === "across" ? this.series.slice(0, 1) : this.series;
    const values = this.rows.flatMap((row) => drawn.map((one) => row[one.key])).filter((one) => Number.isFinite(one));
    if (!values.length) { this.drawing.replaceChildren(html("p", { class: "empty" }, "Nothing in this range yet.")); return; }
    const made = this.form === "across" ? this.across(width, Math.max(...values)) : this.upright(width, Math.max(...values));
    const last = this.rows.at(-1);
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", `${this.title}: ${this.series.map((one) => `${one.label} ${this.format(last[one.key])}${this.unit}`).join(", ")} at ${last[this.x]}; ${this.rows.length} values, see Numbers`);
    this.drawing.replaceChildren(made);
  }

  upright(width, most) {
    const made = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` });
    const lines = ticks(most, this.rows.every((row) => this.series.every((one) => Number.isInteger(row[one.key] ?? 0)))), top = lines.at(-1), inner = width - LEFT - RIGHT, low = HEIGHT - BOTTOM;
    const y = (value) => low - (value / top) * (low - TOP);
    for (const at of lines) {
      made.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(at), y2: y(at) }));
      made.append(svg("text", { class: "tick", x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, this.format(at)));
    }
    const slot = inner / this.rows.length, every = Math.ceil(this.rows.length / Math.max(2, Math.floor(inner / 64)));
    const middle = (at) => LEFT + slot * (at + 0.5);
    this.rows.forEach((row, at) => {
      if (at % every === 0) made.append(svg("text", { class: "tick", x: middle(at), y: HEIGHT - 8, "text-anchor": "middle" }, String(row[this.x])));
    });
    this.series.forEach((one, number) => {
      if (this.form === "bars") {
        const wide = Math.max(1, Math.min(28, (slot * 0.8) / this.series.length));
        this.rows.forEach((row, at) => {
          const value = row[one.key];
          if (!Number.isFinite(value)) return;
          const bar = svg("rect", { class: `s${number}`, x: middle(at) + (number - this.series.length / 2) * wide, width: Math.max(1, wide - 1), y: y(value), height: Math.max(0, low - y(value)), rx: 2 });
          bar.append(svg("title", {}, `${row[this.x]}: ${this.format(value)}${this.unit} ${one.label}`));
          made.append(bar);
        });
        return;
      }
      // A period without a value is a gap, not a line across it.
      let path = "", down = false;
      this.rows.forEach((row, at) => {
        const value = row[one.key];
        if (!Number.isFinite(value)) { down = false; return; }
        path += `${down ? "L" : "M"}${middle(at).toFixed(1)} ${y(value).toFixed(1)}`;
        down = true;
        const dot = svg("circle", { class: `s${number}`, cx: middle(at), cy: y(value), r: this.rows.length > 60 ? 2 : 3.5 });
        dot.append(svg("title", {}, `${row[this.x]}: ${this.format(value)}${this.unit} ${one.label}`));
        made.append(dot);
      });
      made.append(svg("path", { class: `l${number}`, d: path, fill: "none", "stroke-width": 2 }));
    });
    return made;
  }

  across(width, most) {
    const step = 28, height = this.rows.length * step + 8, labels = Math.min(180, width * 0.4), one = this.series[0];
    const made = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    this.rows.forEach((row, at) => {
      const text = String(row[this.x]), fits = Math.floor(labels / 7);
      const name = svg("text", { class: "tick", x: 0, y: at * step + 20 }, text.length > fits ? `${text.slice(0, fits - 1)}…` : text);
      name.append(svg("title", {}, text));
      const long = (row[one.key] / most) * (width - labels - 56);
      made.append(name, svg("rect", { class: "s0", x: labels, y: at * step + 6, width: Math.max(1, long), height: step - 10, rx: 2 }),
        svg("text", { class: "tick", x: labels + Math.max(1, long) + 6, y: at * step + 20 }, `${this.format(row[one.key])}${this.unit}`));
    });
    return made;
  }

  csv(name) {
    const cell = (value) => {
      let text = String(value ?? "");
      if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`; // a spreadsheet must not run it
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const keys = [this.x, ...this.series.map((one) => one.key)];
    const lines = [keys, ...this.rows.map((row) => keys.map((key) => row[key]))];
    save(new Blob([lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n"], { type: "text/csv" }), name);
  }

  async png(name) {
    const shown = this.drawing.querySelector("svg");
    if (!shown) return;
    const copy = shown.cloneNode(true), width = Number(shown.getAttribute("width")), height = Number(shown.getAttribute("height"));
    // The picture stands without this page's style sheet: what it gives is written into each part.
    const parts = [...copy.querySelectorAll("*")];
    [...shown.querySelectorAll("*")].forEach((node, at) => {
      const style = getComputedStyle(node);
      for (const property of ["fill", "stroke", "stroke-width", "font-size", "font-family"]) parts[at].setAttribute(property, style.getPropertyValue(property));
    });
    copy.setAttribute("xmlns", NS);
    const picture = new Image();
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
    await picture.decode();
    const canvas = html("canvas", { width: width * 2, height: (height + 34) * 2 });
    const draw = canvas.getContext("2d"), style = getComputedStyle(this.figure);
    draw.scale(2, 2);
    draw.fillStyle = style.backgroundColor;
    draw.fillRect(0, 0, width, height + 34);
    draw.fillStyle = style.color;
    draw.font = "600 15px system-ui, sans-serif";
    draw.fillText(this.title, 8, 22);
    draw.drawImage(picture, 0, 34);
    canvas.toBlob((blob) => save(blob, name), "image/png");
  }
}

export function save(blob, name) {
  const link = html("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
