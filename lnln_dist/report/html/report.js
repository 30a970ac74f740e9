"use strict";
// Draws the page from its JSON. Text reaches the page as text nodes only.
const DATA = JSON.parse(document.getElementById("data").textContent);
const PAGE = 25; // samples of a table page
const DASHES = ["", "7 3", "2 3"]; // from the ninth model on colours repeat with another dash

function node(space, tag, attributes, children) {
  const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}
const html = (tag, attributes, ...children) => node("", tag, attributes, children);
const svg = (tag, attributes, ...children) =>
  node("http://www.w3.org/2000/svg", tag, attributes, children);
const digits = (value, places = 3) => (value === null ? "–" : value.toFixed(places));
const colour = (i) => `s${i % 8}`;
const dash = (i) => DASHES[Math.floor(i / 8) % DASHES.length] || null;

function choice(label, names, chosen, change) {
  const options = names.map((name, i) => html("option", { value: i, selected: i === chosen }, name));
  const select = html("select", { "data-key": `choice-${label}`, onchange: () => keepFocus(() => change(Number(select.value))) }, ...options);
  return html("label", {}, label, select);
}

// What is drawn anew gets the focus back that its forerunner had.
function keepFocus(work) {
  const { key } = document.activeElement.dataset, within = document.activeElement.closest("section");
  work();
  if (key && within) focusOn(key, within);
}
function focusOn(key, within = document) {
  const found = within.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (found) found.focus();
}

function ticksOf(low, high) {
  const raw = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return { ticks, places: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// series: [{name, index, points: [[y, low, high] or null, ...]}]; names: of the places on x;
// at: where they lie, or null for one after another, which no line connects.
function chart({ series, names, at, x, y, rule, diagonal, label }) {
  const W = 860, H = 360, left = 58, right = 16, top = 14, bottom = 44;
  const points = series.flatMap((s) => s.points).filter(Boolean);
  const values = points.flat().filter((v) => v !== null);
  if (!values.length) return html("p", { class: "note" }, "No value is defined here.");
  for (const r of rule || []) if (r.value !== null) values.push(r.value);
  if (diagonal) values.push(0, 1);
  let low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low || 1) * 0.06;
  low -= pad; high += pad;
  const where = at || names.map((_, i) => i);
  const from = Math.min(...where), to = Math.max(...where);
  const X = (v) => left + ((v - from) / (to - from || 1) * (at ? 1 : 0.9) + (at ? 0 : 0.05)) * (W - left - right);
  const Y = (v) => top + ((high - v) / (high - low)) * (H - top - bottom);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
  const { ticks, places } = ticksOf(low, high);
  for (const tick of ticks) {
    picture.append(svg("line", { class: "grid", x1: left, x2: W - right, y1: Y(tick), y2: Y(tick) }),
      svg("text", { x: left - 6, y: Y(tick) + 4, "text-anchor": "end" }, tick.toFixed(places)));
  }
  names.forEach((name, i) => picture.append(
    svg("text", { x: X(where[i]), y: H - bottom + 18, "text-anchor": "middle" }, name)));
  picture.append(svg("text", { x: (left + W - right) / 2, y: H - 6, "text-anchor": "middle" }, x),
    svg("text", { x: -(top + H - bottom) / 2, y: 14, transform: "rotate(-90)", "text-anchor": "middle" }, y));
  if (diagonal) picture.append(svg("line", { class: "rule", x1: X(from), x2: X(to), y1: Y(from), y2: Y(to) }));
  for (const r of rule || []) {
    if (r.value === null) continue;
    picture.append(svg("line", { class: "rule", x1: left, x2: W - right, y1: Y(r.value), y2: Y(r.value) }),
      svg("text", { x: W - right, y: Y(r.value) - 4, "text-anchor": "end" }, `${r.name} ${digits(r.value)}`));
  }
  for (const s of series) {
    const known = s.points.map((p, i) => p && p[0] !== null ? { x: X(where[i]), p, i } : null).filter(Boolean);
    const group = svg("g", { class: colour(s.index) });
    const banded = known.filter((k) => k.p[1] !== null && k.p[1] !== undefined);
    if (at && banded.length > 1) {
      const edge = [...banded.map((k) => `${k.x},${Y(k.p[1])}`), ...banded.reverse().map((k) => `${k.x},${Y(k.p[2])}`)];
      group.append(svg("polygon", { class: "band", points: edge.join(" ") }));
    } else if (!at) {
      for (const k of banded) group.append(svg("line", { class: "whisker", x1: k.x, x2: k.x, y1: Y(k.p[1]), y2: Y(k.p[2]) }));
    }
    if (at) group.append(svg("polyline", { class: "line", "stroke-dasharray": dash(s.index), points: known.map((k) => `${k.x},${Y(k.p[0])}`).join(" ") }));
    for (const k of known) {
      const band = k.p[1] === null || k.p[1] === undefined ? "" : ` (${digits(k.p[1])} to ${digits(k.p[2])})`;
      group.append(svg("circle", { class: "dot", cx: k.x, cy: Y(k.p[0]), r: 3.5 },
        svg("title", {}, `${s.name}, ${names[k.i]}: ${digits(k.p[0])}${band}`)));
    }
    picture.append(group);
  }
  return picture;
}

const hidden = new Set(); // names of models switched off, in all figures
let part = DATA.protocols[0];

function legend(names) {
  return html("p", { class: "legend" }, ...names.map((name, i) => html("button", {
    type: "button", "aria-pressed": String(!hidden.has(name)),
    onclick: () => { hidden.has(name) ? hidden.delete(name) : hidden.add(name); keepFocus(draw); },
    "data-key": `legend-${i}`,
  }, svg("svg", { width: 22, height: 8, class: colour(i), "aria-hidden": "true" },
    svg("line", { class: "line", x1: 0, x2: 22, y1: 4, y2: 4, "stroke-dasharray": dash(i) })), name)));
}
const shown = (points) => part.models.map((name, index) => ({ name, index, points: points(index) }))
  .filter((s) => !hidden.has(s.name));

// Every section keeps what was chosen in it and draws itself anew.
const state = { metric: DATA.metric, condition: {}, sort: { key: "error", down: true }, page: 0, chosen: null,
  text: "", sign: 0, model: 0 };
const inMean = () => part.conditions.filter((c) => c.mean);
// Rates lie on a line; patterns stand side by side.
const numeric = () => inMean().every((c) => c.random) && inMean().length > 1;

function into(id, ...children) {
  document.querySelector(`#${id} .drawn`).replaceChildren(...children.filter(Boolean));
}
function note(text) { return html("p", { class: "note" }, text); }
function conditionChoice(key, redraw) {
  const last = inMean().length - 1;
  if (!(state.condition[key] < part.conditions.length)) state.condition[key] = key === "samples" ? Math.floor(last / 2) : last;
  return choice("condition", part.conditions.map((c) => c.name), state.condition[key], (i) => { state.condition[key] = i; redraw(); });
}

function drawCurves() {
  const metrics = Object.keys(part.curves), metric = state.metric;
  into("curves",
    html("p", { class: "controls" }, choice("score", metrics, metrics.indexOf(metric), (i) => { state.metric = metrics[i]; drawCurves(); })),
    legend(part.models),
    chart({ series: shown((i) => part.curves[metric][i]), names: inMean().map((c) => c.name),
      at: numeric() ? inMean().map((c) => c.rate) : null, x: numeric() ? "missing rate" : "condition", y: metric,
      rule: [{ name: "best constant", value: part.floors[metric] }], label: `${metric} of each model by condition, with 95 % bands` }),
    note(`Mean over training and noise seeds; bands are 95 % intervals over samples and seeds jointly. ${DATA.direction[metric] > 0 ? "Higher" : "Lower"} is better.`));
}

function drawCompleteness() {
  const known = part.calibration.some((table) => Object.keys(table).length);
  if (!known || !numeric()) {
    into("completeness", note(known ? "This protocol has no missing rates to hold it against." : "No model here predicts a completeness."));
    return;
  }
  const order = inMean().map((c, i) => ({ i, at: c.there })).reverse();
  into("completeness", legend(part.models), chart({
    series: shown((m) => order.map(({ i }) => {
      const found = part.calibration[m][i];
      return found ? [found[0], found[0] - found[1], found[0] + found[1]] : null;
    })).filter((s) => s.points.some(Boolean)),
    names: order.map(({ at }) => digits(at, 1)), at: order.map(({ at }) => at), diagonal: true,
    x: "share of the text that is there", y: "predicted completeness", label: "predicted against true completeness" }),
  note("Mean over samples; the band is one standard deviation between samples. On the dashed line it is calibrated; a flat line says nothing of what is missing."));
}

function drawConfusion() {
  if (!part.confusion) { into("confusion", note("No classes are defined for labels of this range.")); return; }
  const at = html("p", { class: "controls" }, conditionChoice("confusion", drawConfusion));
  const tables = part.models.filter((name) => !hidden.has(name)).map((name) => {
    const m = part.models.indexOf(name);
    const counts = part.confusion[m][state.condition.confusion];
    const rows = counts.map((row, i) => {
      const total = row.reduce((a, b) => a + b, 0);
      return html("tr", {}, html("th", { scope: "row" }, part.classes[m][i]), ...row.map((n) => {
        const share = total ? n / total : 0;
        const cell = html("td", { title: `${n} of ${total}` }, total ? String(Math.round(100 * share)) : "–");
        cell.style.backgroundColor = `rgba(var(--hit), ${(0.75 * share).toFixed(3)})`;
        return cell;
      }));
    });
    return html("table", {}, html("caption", {}, name),
      html("thead", {}, html("tr", {}, html("th", {}, "true \\ predicted"), ...part.classes[m].map((c) => html("th", { scope: "col" }, c)))),
      html("tbody", {}, ...rows));
  });
  into("confusion", at, legend(part.models), html("div", { class: "confusions wide" }, ...tables),
    note(`Per cent of each true class (row) at condition ${part.conditions[state.condition.confusion].name}, over all training and noise seeds.`));
}

function drawLengths() {
  const lengths = part.lengths;
  if (!lengths) { into("lengths", note(`Not shown: ${part.without}.`)); return; }
  const at = html("p", { class: "controls" }, conditionChoice("lengths", drawLengths));
  into("lengths", at, legend(part.models), chart({
    series: shown((m) => lengths.error[m][state.condition.lengths].map((v) => [v, null, null])),
    names: lengths.names.map((name, i) => `${name} (${lengths.count[i]})`), at: lengths.names.map((_, i) => i),
    x: "tokens of the text (samples)", y: "mean absolute error", label: "mean absolute error by length of the text" }),
  note(`At condition ${part.conditions[state.condition.lengths].name}, over all training and noise seeds.`));
}

function textOf(sample) { return sample.pieces ? sample.pieces.map((p) => p[0]).join("") : ""; }
function said(sample, model) { return sample.said[model][state.condition.samples]; }
function errorOf(sample, model) {
  const value = said(sample, model);
  return value === null ? null : Math.abs(value - sample.label);
}
function spreadOf(sample) {
  const values = part.models.map((_, m) => said(sample, m)).filter((v) => v !== null);
  return values.length ? Math.max(...values) - Math.min(...values) : null;
}
const SIGNS = [["all labels", () => true], ["negative", (l) => l < 0], ["zero", (l) => l === 0], ["positive", (l) => l > 0]];

function selection() {
  const wanted = state.text.toLowerCase();
  const { key, down } = state.sort;
  const value = { id: (s) => s.id, text: textOf, label: (s) => s.label, error: (s) => errorOf(s, state.model), spread: spreadOf }[key]
    || ((s) => said(s, key));
  const rank = (a, b) => {
    const x = value(a), y = value(b);
    if (x === null || y === null) return (x === null) - (y === null);
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  };
  return part.samples.filter((s) => SIGNS[state.sign][1](s.label) && (!wanted || `${s.id} ${textOf(s)}`.toLowerCase().includes(wanted))).sort(rank);
}

function drawSamples() {
  const picked = conditionChoice("samples", drawSamples);
  const again = () => { state.page = 0; drawRows(); };
  const search = html("input", { type: "search", value: state.text, oninput: () => { state.text = search.value; again(); } });
  into("samples",
    note((part.samples.length < part.samples_of ? `${part.samples.length} of ${part.samples_of} samples, the worst of each model and some drawn evenly` : `All ${part.samples_of} samples`)
      + ` under noise seed ${part.seed}; predictions are means over the training seeds. Choose a row, or go through them with the arrow keys.`),
    part.without ? note(`Without texts and masks: ${part.without}.`) : null,
    html("p", { class: "controls" }, picked,
      html("label", {}, "find in id and text", search),
      choice("label", SIGNS.map((s) => s[0]), state.sign, (i) => { state.sign = i; again(); }),
      choice("error of", part.models, state.model, (i) => { state.model = i; again(); })),
    html("div", { id: "detail" }), html("div", { id: "rows" }));
  drawRows();
}

function drawRows() {
  const rows = selection(), pages = Math.max(1, Math.ceil(rows.length / PAGE));
  state.page = Math.min(state.page, pages - 1);
  if (!rows.includes(state.chosen)) state.chosen = rows[state.page * PAGE] || null;
  const column = (name, key) => html("th", { scope: "col", "aria-sort": state.sort.key === key ? (state.sort.down ? "descending" : "ascending") : null },
    html("button", { type: "button", "data-key": `sort-${key}`, onclick: () => {
      state.sort = { key, down: state.sort.key === key ? !state.sort.down : true };
      state.page = 0; state.chosen = null; keepFocus(drawRows);
    } }, name + (state.sort.key === key ? (state.sort.down ? " ▾" : " ▴") : "")));
  const texts = part.samples.some((s) => s.pieces);
  const head = html("tr", {}, column("id", "id"), texts ? column("text", "text") : null, column("label", "label"),
    ...part.models.map((name, m) => column(name, m)), column(`error of ${part.models[state.model]}`, "error"), column("models differ by", "spread"));
  const lines = rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map((s, i) => html("tr", {
    tabindex: s === state.chosen ? 0 : -1, "aria-selected": String(s === state.chosen), "data-key": `row-${i}`,
    onclick: () => { state.chosen = s; keepFocus(drawRows); },
    onkeydown: (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const next = rows[state.page * PAGE + i + step];
      if (!step || !next) return;
      event.preventDefault();
      state.chosen = next;
      state.page = Math.floor(rows.indexOf(next) / PAGE);
      drawRows(); focusOn(`row-${rows.indexOf(next) % PAGE}`);
    },
  }, html("td", {}, s.id), texts ? html("td", { class: "text" }, ...marked(s)) : null, html("td", {}, digits(s.label, 2)),
  ...part.models.map((_, m) => html("td", {}, digits(said(s, m), 2))), html("td", {}, digits(errorOf(s, state.model), 2)), html("td", {}, digits(spreadOf(s), 2))));
  const turn = (step, name) => html("button", { type: "button", "data-key": `turn-${step}`, disabled: !(state.page + step in Array(pages).fill()),
    onclick: () => { state.page += step; state.chosen = null; keepFocus(drawRows); } }, name);
  document.getElementById("rows").replaceChildren(
    html("div", { class: "wide" }, html("table", { "aria-label": "samples" }, html("thead", {}, head), html("tbody", {}, ...lines))),
    html("p", { class: "controls pages" }, turn(-1, "previous"), `page ${state.page + 1} of ${pages}, ${rows.length} samples`, turn(1, "next")));
  drawDetail();
}

function marked(sample) {
  const kept = sample.kept[state.condition.samples];
  return sample.pieces.map(([text, place]) => place >= 0 && kept[place] === "0" ? html("del", { title: "erased" }, text) : text);
}

function drawDetail() {
  const s = state.chosen, place = document.getElementById("detail");
  if (!s) { place.replaceChildren(note("No sample fits.")); return; }
  const strips = !s.strips ? [] : Object.entries(s.strips).map(([modality, all]) => {
    const strip = all[state.condition.samples];
    const bars = [...strip].map((d, i) => d === "0" ? null : svg("rect", { x: i, y: 0, width: 1, height: 1, opacity: (0.25 + Number(d) / 12).toFixed(2) }));
    return html("div", {}, html("span", { class: "strip-name" }, modality),
      svg("svg", { class: "strip", viewBox: `0 0 ${strip.length} 1`, preserveAspectRatio: "none", role: "img",
        "aria-label": `${modality}: ${Math.round(100 * [...strip].reduce((a, d) => a + Number(d), 0) / 9 / strip.length)} per cent erased` }, ...bars));
  });
  const at = inMean();
  place.replaceChildren(html("div", { class: "detail" },
    html("h3", {}, `${s.id}, label ${digits(s.label, 2)}, condition ${part.conditions[state.condition.samples].name}`),
    s.pieces ? html("p", { class: "sentence" }, ...marked(s)) : null,
    s.pieces && !part.marked ? note("No tokenizer is at hand to tell which words were erased; the strip shows the places.") : null,
    ...strips, strips.length ? note("From left to right in time; filled is erased (frames set to zero, tokens to [UNK]).") : null,
    legend(part.models),
    chart({ series: shown((m) => at.map((_, c) => s.said[m][c] === null ? null : [s.said[m][c], null, null])), names: at.map((c) => c.name),
      at: numeric() ? at.map((c) => c.rate) : null, x: numeric() ? "missing rate" : "condition", y: "prediction",
      rule: [{ name: "label", value: s.label }], label: "predictions of each model by condition" })));
}

function draw() {
  drawCurves(); drawCompleteness(); drawConfusion(); drawLengths(); drawSamples();
}

if (DATA.protocols.length > 1) {
  const picker = document.getElementById("protocols");
  picker.append(choice("protocol of figures and samples", DATA.protocols.map((p) => p.name), 0, (i) => {
    part = DATA.protocols[i];
    Object.assign(state, { condition: {}, page: 0, chosen: null, model: 0, sort: { key: "error", down: true } });
    draw();
  }));
  picker.hidden = false;
}
draw();
