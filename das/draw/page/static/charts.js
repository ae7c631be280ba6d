"use strict";
// Charts, drawn by Observable Plot in the page's own colours. The colours are those of Okabe and Ito, each with a line style.

const INK = { found: "var(--found)", curve: "var(--accent)", soft: "var(--soft)" };
const NULLS = { untrained: ["var(--n1)", "7 4"], shuffled: ["var(--n2)", "7 3 2 3"], random: ["var(--n3)", "2 3"] };
const LEVELS = { decoding: "var(--n2)", interchange: "var(--accent)", ablation: "var(--found)", recovery: "var(--n3)" };
const STYLE = { fontFamily: "inherit", fontSize: "12px", background: "none", overflow: "visible" };

/** Those marks of a chart that there are. */
const drawn = (marks) => marks.flat(Infinity).filter(Boolean);

const lineMark = (ink, dash) => svg("svg", { width: 26, height: 10, "aria-hidden": "true" },
  svg("line", { x1: 1, x2: 25, y1: 5, y2: 5, stroke: ink, "stroke-width": 2, "stroke-dasharray": dash }));
const legend = (entries) => h("ul", { class: "legend" }, entries.map(([mark, text]) => h("li", {}, mark, text)));
const dotMark = (ink) => h("span", { class: "dot", style: `background:${ink}`, "aria-hidden": "true" });

// --- where an IIA lies among what it is held against ---

/** found: {iia, low, high}; beside: [label, value] each; limit: what luck reaches. */
function strip(found, beside, limit, width = 420) {
  const rows = beside.filter(([, value]) => known(value));
  const domain = ["IIA", ...rows.map(([label]) => label)];
  const room = Math.min(150, 16 + 6.6 * Math.max(...domain.map((label) => label.length)));
  return Plot.plot({
    width, height: 34 + 22 * domain.length, marginLeft: room, marginRight: 44, marginTop: 6, marginBottom: 24, style: STYLE,
    x: { domain: [0, 1], ticks: 5, tickFormat: (x) => String(x), label: null },
    y: { domain, label: null, tickSize: 0, padding: 0.4 },
    marks: drawn([
      known(limit) && Plot.rectX([limit], { x1: 0, x2: (x) => x, fill: "var(--luck)" }),
      Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.dot(rows, { x: (r) => r[1], y: (r) => r[0], stroke: "var(--soft)", fill: "var(--paper)", r: 4, strokeWidth: 1.5 }),
      Plot.text(rows, { x: (r) => r[1], y: (r) => r[0], text: (r) => short(r[1]), dx: 8, textAnchor: "start", fill: "var(--soft)" }),
      known(found.low) && Plot.ruleY([found], { x1: "low", x2: "high", y: () => "IIA", stroke: INK.found, strokeWidth: 2.5 }),
      Plot.dot([found], { x: "iia", y: () => "IIA", fill: INK.found, r: 4.5 }),
      Plot.text([found], { x: (f) => f.high ?? f.iia, y: () => "IIA", text: (f) => short(f.iia), dx: 9, textAnchor: "start", fontWeight: 600 }),
    ]),
  });
}

// --- IIA by rank ---

/** curves: {label, points: [rank, mean, low, high] each}; ranks: {label, rank, iia}; nulls: as in the data. */
function rankCurve({ curves, ranks, nulls, baselines, limit, times, split }) {
  const flat = curves.flatMap((curve, i) => curve.points.map(([rank, mid, low, high]) => ({ rank, mid, low, high, i })));
  const dull = nulls.flatMap((n) => n.width.map((w, i) => ({ rank: w * times, mid: n.mean[i], low: n.min[i], high: n.max[i], of: n.null })));
  const all = [...flat.map((p) => p.low), ...dull.map((p) => p.low), ...ranks.map((r) => r.iia), ...baselines.map((b) => b.value)];
  const bottom = Math.max(0, Math.floor(10 * Math.min(...all) - 0.5) / 10);
  const inks = ["var(--accent)", "var(--n1)", "var(--n2)"];
  const chart = Plot.plot({
    width: 520, height: 300, marginLeft: 44, marginRight: 16, marginBottom: 40, style: STYLE,
    x: { type: "log", base: 2, label: times > 1 ? `rank: swapped columns, ${times} variables together` : "rank: swapped columns", tickFormat: "d", labelArrow: "none", labelAnchor: "center" },
    y: { domain: [bottom, 1.02], label: "IIA", grid: true, labelArrow: "none" },
    marks: drawn([
      known(limit) && Plot.rectY([limit], { y1: bottom, y2: (y) => Math.max(y, bottom), fill: "var(--luck)" }),
      baselines.map((b) => Plot.ruleY([b.value], { stroke: "var(--soft)", strokeDasharray: b.dash })),
      dull.length > 0 && Plot.areaY(dull, { x: "rank", y1: "low", y2: "high", z: "of", fill: (p) => NULLS[p.of]?.[0] ?? INK.soft, fillOpacity: 0.15 }),
      nulls.map((n) => Plot.lineY(dull.filter((p) => p.of === n.null), { x: "rank", y: "mid", stroke: NULLS[n.null]?.[0] ?? INK.soft, strokeDasharray: NULLS[n.null]?.[1], strokeWidth: 2 })),
      Plot.areaY(flat, { x: "rank", y1: "low", y2: "high", z: "i", fill: (p) => inks[p.i % 3], fillOpacity: 0.2 }),
      Plot.lineY(flat, { x: "rank", y: "mid", z: "i", stroke: (p) => inks[p.i % 3], strokeWidth: 2.2, marker: "circle" }),
      Plot.dot(ranks.filter((r) => r.rank > 0), { x: "rank", y: "iia", fill: INK.found, r: 6, symbol: (r) => r.label }),
    ]),
  });
  const symbols = ["●", "✚", "◆", "▲", "★"];
  const entries = [
    ...curves.map((c, i) => [lineMark(inks[i % 3]), `${c.label}, by rank (${split} pairs)`]),
    ...ranks.map((r, i) => [h("span", { class: "symbol", style: `color:${INK.found}`, "aria-hidden": "true" }, symbols[i % 5]), `${r.label}: rank ${told("rank", r.rank)}, IIA ${short(r.iia)}`]),
    ...nulls.map((n) => [lineMark(NULLS[n.null]?.[0] ?? INK.soft, NULLS[n.null]?.[1]), `null: ${n.label} (validation pairs)`]),
    ...baselines.map((b) => [lineMark("var(--soft)", b.dash), `${b.label} ${short(b.value)}`]),
    known(limit) && [h("span", { class: "swatch", "aria-hidden": "true" }), `what luck reaches, ${short(limit)}`],
  ].filter(Boolean);
  return h("div", { class: "charted" }, chart, legend(entries));
}

// --- the four levels of evidence ---

function levelChart(steps) {
  const label = (s) => s.label;
  const room = 20 + 6.6 * Math.max(...steps.map((s) => s.label.length));
  return Plot.plot({
    width: 720, height: 44 + 26 * steps.length, marginLeft: Math.min(230, room), marginRight: 300, marginTop: 6, marginBottom: 34, style: STYLE,
    x: { domain: [0, 1], ticks: 5, tickFormat: (x) => String(x), label: "share of pairs: ○ from, ● to, | to compare with", labelArrow: "none", labelAnchor: "center", grid: true },
    y: { domain: steps.map(label), label: null, tickSize: 0 },
    marks: drawn([
      Plot.ruleY(steps, { x1: "start", x2: "end", y: label, stroke: (s) => LEVELS[s.level], strokeWidth: 3, strokeOpacity: 0.5 }),
      Plot.dot(steps, { x: "start", y: label, stroke: (s) => LEVELS[s.level], fill: "var(--paper)", r: 5, strokeWidth: 1.8 }),
      Plot.dot(steps, { x: "end", y: label, fill: (s) => LEVELS[s.level], r: 5.5 }),
      Plot.tickX(steps.filter((s) => known(s.mark)), { x: "mark", y: label, stroke: "currentColor", strokeWidth: 2 }),
      Plot.text(steps, { frameAnchor: "right", y: label, text: "words", dx: 14, textAnchor: "start", fill: "var(--soft)" }),
    ]),
  });
}

// --- doses of a direction ---

const DOSES = { add: ["var(--accent)", null, "the direction"], random: ["var(--soft)", "7 4", "a random direction"], piecewise: ["var(--found)", null, "the direction, piecewise"] };
const ASKED = { "the answer of the upper level": ["add", "random"], "the prompt's own answer": ["piecewise"] };

/** One panel for each answer and measure, beside each other. */
function doseChart(dose) {
  const share = { probability: "probability", accuracy: "share that gives it" };
  const panels = Object.entries(ASKED).flatMap(([answer, curves]) => Object.keys(share).filter((m) => dose[curves[0]][m]).map((m) => ({ answer, m, curves })));
  const chart = ({ answer, m, curves }) => {
    const points = curves.flatMap((curve) => dose.alpha.map((alpha, i) => ({ alpha, value: dose[curve][m][i], curve })));
    return Plot.plot({
      width: 250, height: 200, marginLeft: 34, marginBottom: 36, marginTop: 26, style: STYLE,
      title: h("p", { class: "note" }, `${answer}: ${share[m]}`),
      x: { label: "dose, in natural spreads", labelArrow: "none", labelAnchor: "center", ticks: 5 }, y: { domain: [0, 1], ticks: 5, label: null, grid: true },
      marks: [Plot.ruleX([0], { stroke: "var(--line)" }),
        curves.map((curve) => Plot.lineY(points.filter((p) => p.curve === curve), { x: "alpha", y: "value", stroke: DOSES[curve][0], strokeDasharray: DOSES[curve][1], strokeWidth: 2, marker: "circle" }))],
    });
  };
  return h("div", { class: "charted" }, h("div", { class: "row" }, panels.map(chart)), legend(Object.values(DOSES).map(([ink, dash, text]) => [lineMark(ink, dash), text])));
}

// --- training ---

function lossChart(curves) {
  const points = curves.flatMap((c, i) => c.step.map((step, at) => ({ step, loss: c.loss[at], i })));
  const dashes = [null, "7 4", "2 3", "7 3 2 3"];
  const inks = ["var(--accent)", "var(--found)", "var(--n2)", "var(--n3)", "var(--n1)"];
  const chart = Plot.plot({
    width: 720, height: 260, marginLeft: 44, marginBottom: 40, style: STYLE,
    x: { label: "optimiser step", labelArrow: "none", labelAnchor: "center" }, y: { label: "loss, mean over the cells", labelArrow: "none", grid: true },
    marks: curves.map((_, i) => Plot.lineY(points.filter((p) => p.i === i), { x: "step", y: "loss", stroke: inks[i % 5], strokeDasharray: dashes[i % 4], strokeWidth: 1.8 })),
  });
  return h("div", { class: "charted" }, chart,
    legend(curves.map((c, i) => [lineMark(inks[i % 5], dashes[i % 4]), `${c.stage}, ${counted(c.cells, "cell")} together`])));
}

// --- the causal model ---

/** Inputs below, the output on top, aligned variables marked. */
function dagChart({ levels, arrows, aligned }) {
  const size = (name) => 26 + 7.4 * Math.min(name.length, 26);
  const inner = Math.max(...levels.map((names) => names.reduce((sum, name) => sum + size(name) + 60, 60)));
  const width = Math.max(240, inner), step = 84, height = step * levels.length;
  const place = new Map();
  levels.forEach((names, level) => {
    const free = (width - names.reduce((sum, name) => sum + size(name), 0)) / (names.length + 1);
    let x = free;
    for (const name of names) {
      place.set(name, [x + size(name) / 2, height - step * (level + 0.5)]);
      x += size(name) + free;
    }
  });
  const target = new Set(aligned), parents = new Set(arrows.map(([parent]) => parent));
  const look = (name) => (levels[0].includes(name) ? "input" : parents.has(name) ? "inner" : "output");
  const tip = `tip-${controls++}`;
  const reach = (name, side) => size(name) / 2 + 12 + (side > 0 && target.has(name) ? 54 : 0);
  /** Where both handles of an arrow lie that has to pass beside what lies between; null where nothing does. */
  const past = ([x1, y1], [x2, y2]) => {
    const free = (x1 + x2) / 2;
    const crossed = [...place].find(([name, [x, y]]) => y < y1 && y > y2 && free > x - reach(name, -1) && free < x + reach(name, 1));
    if (!crossed) return null;
    const [name, [x]] = crossed, side = x1 < x ? -1 : 1;
    return (x + side * reach(name, side) - 0.25 * free) / 0.75;  // a curve with such handles is there halfway
  };
  const arrow = ([from, to]) => {
    const [[x1, y1], [x2, y2]] = [place.get(from), place.get(to)];
    const middle = (y1 + y2) / 2, beside = past([x1, y1], [x2, y2]);
    const [first, second] = beside === null ? [x1, x2] : [beside, beside];
    return svg("path", { class: "arrow", d: `M${x1},${y1 - 16}C${first},${middle} ${second},${middle} ${x2},${y2 + 20}`, "marker-end": `url(#${tip})` });
  };
  const node = (name) => {
    const [x, y] = place.get(name), wide = size(name);
    const label = name.length > 26 ? `${name.slice(0, 25)}…` : name;
    return svg("g", { class: `node ${look(name)}${target.has(name) ? " aligned" : ""}` }, svg("title", {}, name),
      svg("rect", { x: x - wide / 2, y: y - 16, width: wide, height: 32, rx: 8 }),
      svg("text", { x, y: y + 4.5, "text-anchor": "middle" }, label),
      target.has(name) && svg("text", { x: x + wide / 2 + 7, y: y + 4, class: "note" }, "aligned"));
  };
  return svg("svg", { class: "dag", viewBox: `0 0 ${width} ${height}`, width, height },
    svg("defs", {}, svg("marker", { id: tip, viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, svg("path", { d: "M0,0.5L7,4L0,7.5z" }))),
    arrows.map(arrow), [...place.keys()].map(node));
}
