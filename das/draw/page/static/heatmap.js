"use strict";
// Heatmaps: a measure over layers and positions, one map per hypothesis, walked with the arrow keys.

const CHOSEN = "#d62728";
const TIGHT = 30, ROOMY = 50;  // pixels of a cell's width from which its number, and its interval, are written

/** The scale of a measure: shares from 0 to 1; whatever goes beyond by its own values, apart from 0 both ways. */
function scaleOf(values) {
  const some = values.filter(known);
  const low = Math.min(0, ...some), high = Math.max(...some, 1e-9);
  if (low < -1e-6) {
    const top = Math.max(-low, high);
    return { domain: [-top, top], colour: (v) => d3.interpolateRdBu((v / top + 1) / 2), name: "RdBu" };
  }
  const top = high <= 1.0001 ? 1 : high;
  return { domain: [0, top], colour: (v) => d3.interpolateViridis(Math.min(1, v / top)), name: "Viridis" };
}

function inkOn(colour) {
  const { r, g, b } = d3.rgb(colour);
  return 0.299 * r + 0.587 * g + 0.114 * b < 128 ? "#fff" : "#000";
}

/** The cells of one map. state: {split, metric, kind, component, seed}; component or seed null: all of them; kind null: that of
 * the search. */
function mapOf(cells, entry, state) {
  const kind = state.kind ?? mainKind(cells, entry);
  const found = new Map();
  cells.ids.forEach((_, cell) => {
    const site = cells.site(cell);
    if (site.hypothesis !== entry.name || site.subspace !== kind) return;
    if (state.component !== null && site.component !== state.component) return;
    if (state.seed !== null && site.seed !== state.seed && !DATA.closed.includes(kind)) return;  // closed forms have none
    const key = JSON.stringify([site.layer, site.component, site.position]);
    (found.get(key) ?? found.set(key, { ...site, of: [] }).get(key)).of.push(cell);
  });
  const whole = state.seed === null && state.split === "test";
  const end = (cell, which) => (whole ? cells.value(cell, "test", `iia_${which}`) : NaN);
  return [...found.values()].map((site) => ({
    ...site,
    value: mean(site.of.map((cell) => cells.value(cell, state.split, state.metric))),
    low: end(site.of[0], "low"), high: end(site.of[0], "high"),
    dead: site.of.every((cell) => cells.dead(cell)), raced: mean(site.of.map((cell) => cells.value(cell, "test", "raced"))),
    chosen: entry.found && ["layer", "component", "position"].every((part) => entry.found[part] === site[part]),
  }));
}

/** Sites that a budget left untrained, with what a whole-vector swap gives there (unknown where a trace ranked them). */
const skippedOf = (entry, state) => DATA.screen.filter((site) =>
  site.hypothesis === entry.name && !site.trained && !site.dead && (state.component === null || site.component === state.component));

function orders(cells, sites) {
  const rank = (name, value) => cells.own[name].values.indexOf(value);
  const positions = [...new Set(sites.map((s) => s.position))].sort((a, b) => rank("position", a) - rank("position", b));
  const rows = d3.groups(sites, (s) => JSON.stringify([s.layer, s.component])).map(([, [one]]) => one)
    .sort((a, b) => rank("layer", b.layer) - rank("layer", a.layer) || rank("component", b.component) - rank("component", a.component));
  const several = new Set(rows.map((s) => s.component)).size > 1;
  const row = (s) => (several ? `${layerName(s.layer)} · ${s.component.replaceAll("_", " ")}` : layerName(s.layer));
  return { positions, rows: rows.map(row), row, only: several ? null : rows[0]?.component };
}

function siteLabel(entry, site, metric) {
  const parts = [`${placed(site)}: ${labelOf(metric)} ${told(metric, site.value)}`];
  if (known(site.low)) parts.push(`IIA's 95 % interval ${between(site.low, site.high)}`);
  if (known(site.low) && entry.luck && site.low <= entry.luck[0]) parts.push("not above luck");
  if (known(site.raced)) parts.push(`stopped by the race after step ${site.raced}`);
  if (site.chosen) parts.push("the cell that was chosen on validation pairs");
  return parts.join(", ");
}

/** One hypothesis' map. opened: called with a site. */
function heatmap(cells, entry, state, width, opened) {
  const every = mapOf(cells, entry, state), dead = every.filter((site) => site.dead);
  const sites = every.filter((site) => !site.dead && known(site.value));
  if (!sites.length) return h("p", { class: "note" }, "Nothing of this is there for this hypothesis.");
  const skipped = skippedOf(entry, state), layout = orders(cells, [...sites, ...dead, ...skipped]);
  const left = 26 + 6.8 * Math.max(...layout.rows.map((row) => row.length));
  const across = Math.min(width - left - 8, 76 * layout.positions.length), cell = across / layout.positions.length;
  const tall = Math.max(18, Math.min(38, cell >= ROOMY ? 38 : 28));
  const longest = Math.max(...layout.positions.map((p) => positionName(p).length));
  const steep = cell < Math.max(44, 5.8 * longest);
  const tick = (position) => (steep ? positionName(position) : `${tokenAt(position) === null ? "" : shown(tokenAt(position))}\n${positionName(position)}`);
  const foot = steep ? 24 + 5 * Math.min(longest, 22) : 52;
  const scale = scaleOf(sites.map((s) => s.value)), y = (s) => layout.row(s);
  const numbered = cell >= TIGHT, whiskers = cell >= ROOMY && tall >= 34 && state.metric === "iia";
  const ink = (s) => inkOn(scale.colour(s.value));
  const dull = entry.luck ? sites.filter((s) => known(s.low) && s.low <= entry.luck[0]) : [];
  const hatch = `hatch-${controls++}`, dots = `dots-${controls++}`;
  const chart = Plot.plot({
    width: left + across + 8, height: 10 + tall * layout.rows.length + foot, marginLeft: left, marginRight: 8, marginTop: 10, marginBottom: foot,
    style: { ...STYLE, fontSize: "11px" },
    x: { domain: layout.positions, tickFormat: tick, tickRotate: steep ? -55 : 0, label: null, tickSize: 0, padding: 0 },
    y: { domain: layout.rows, label: null, tickSize: 0, padding: 0 },
    marks: drawn([
      Plot.cell(skipped, { x: "position", y, fill: "var(--unasked)", inset: 0.75, title: () => "not trained" }),
      numbered && Plot.text(skipped.filter((s) => known(s.whole)), { x: "position", y, text: (s) => short(s.whole), fill: "var(--soft)", fontStyle: "italic" }),
      Plot.cell(dead, { x: "position", y, fill: `url(#${dots})`, inset: 0.75, title: () => "dead: no swap can change an answer" }),
      numbered && Plot.text(dead.filter((s) => known(s.value)), { x: "position", y, text: (s) => told(state.metric, s.value), fill: "var(--soft)", stroke: "var(--paper)", strokeWidth: 5 }),
      Plot.cell(sites, { x: "position", y, fill: (s) => scale.colour(s.value), inset: 0.75, rx: 2, className: "cells" }),
      Plot.cell(dull, { x: "position", y, fill: `url(#${hatch})`, inset: 0.75, rx: 2 }),
      numbered && Plot.text(sites, { x: "position", y, text: (s) => told(state.metric, s.value), dy: whiskers ? -5 : 0, fill: ink, fontWeight: 500 }),
      whiskers && Plot.text(sites, { x: "position", y, text: (s) => (known(s.low) ? between(s.low, s.high) : ""), dy: 9, fill: ink, fontSize: 8.5 }),
      numbered && Plot.text(sites.filter((s) => known(s.raced)), { x: "position", y, text: () => "×", dx: cell / 2 - 7, dy: 8 - tall / 2, fill: ink }),
      Plot.cell(sites.filter((s) => s.chosen), { x: "position", y, fill: "none", stroke: CHOSEN, strokeWidth: 2.5, inset: 0, rx: 3 }),
    ]),
  });
  chart.append(svg("defs", {}, svg("pattern", { id: dots, width: 5, height: 5, patternUnits: "userSpaceOnUse" },
    svg("circle", { cx: 2.5, cy: 2.5, r: 0.7, style: "fill:var(--soft);fill-opacity:0.6" })), svg("pattern", { id: hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("line", { x1: 0, y1: 0, x2: 0, y2: 6, stroke: "#fff", "stroke-opacity": 0.55, "stroke-width": 1.4 }),
    svg("line", { x1: 1.4, y1: 0, x2: 1.4, y2: 6, stroke: "#000", "stroke-opacity": 0.35, "stroke-width": 1 }))));
  walkable(chart, sites, layout, y, (site) => siteLabel(entry, site, state.metric), opened);
  const component = layout.only && layout.only !== "block_output" ? `, ${layout.only.replaceAll("_", " ")}` : "";
  return h("div", { class: "map" }, h("p", { class: "axis" }, `layer${component}, from below; ${IN_WORDS ? "token of an example prompt, position" : "place in the input, position"}`), chart, bar(scale, entry, state),
    dull.length > 0 && h("p", { class: "note" }, `Hatched: the interval is not above ${entry.luck[1]}.`),
    sites.some((s) => known(s.raced)) && h("p", { class: "note" }, "×: stopped by the race, and never chosen."),
    dead.length > 0 && h("p", { class: "note" }, "Dotted: dead, no swap there can change an answer; the number is what no swap gives. Not trained."),
    skipped.length > 0 && h("p", { class: "note" }, skipped.some((s) => known(s.whole))
      ? "Grey: not trained; in italics what a whole-vector swap gives there on training pairs." : "Grey: not trained."));
}

/** The arrows move over a map's cells, Enter or a click opens one. One cell at a time is reached by the tab key. */
function walkable(chart, sites, layout, y, label, opened) {
  const rects = [...chart.querySelectorAll("g.cells rect, .cells rect")].slice(0, sites.length);
  chart.setAttribute("role", "group");
  chart.setAttribute("aria-label", "A map of cells: the arrow keys move over it, Enter opens a cell");
  const spot = (site) => JSON.stringify([layout.positions.indexOf(site.position), layout.rows.indexOf(y(site))]);
  const by = new Map(sites.map((site, i) => [spot(site), i]));
  const first = Math.max(0, sites.findIndex((site) => site.chosen));
  const focus = (i) => {
    rects.forEach((rect) => rect.setAttribute("tabindex", -1));
    rects[i].setAttribute("tabindex", 0);
    rects[i].focus();
  };
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  rects.forEach((rect, i) => {
    fill(rect, { tabindex: i === first ? 0 : -1, role: "button", "aria-label": label(sites[i]), "data-cell": sites[i].of[0] }, [svg("title", {}, label(sites[i]))]);
    rect.addEventListener("click", () => { focus(i); opened(sites[i], rect); });
    rect.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        opened(sites[i], rect);
      } else if (step[event.key]) {
        event.preventDefault();
        const [dx, dy] = step[event.key];
        let [column, row] = [layout.positions.indexOf(sites[i].position) + dx, layout.rows.indexOf(y(sites[i])) + dy];
        while (column >= 0 && row >= 0 && column < layout.positions.length && row < layout.rows.length) {
          const next = by.get(JSON.stringify([column, row]));
          if (next !== undefined) return focus(next);
          [column, row] = [column + dx, row + dy];
        }
      }
      return undefined;
    });
  });
}

/** The colours of a scale, with floor and ceiling marked on it where they belong there. */
function bar(scale, entry, state) {
  const [low, high] = scale.domain;
  const stops = d3.range(0, 11).map((i) => scale.colour(low + (high - low) * i / 10)).join(",");
  const marks = [[low, short(low)], [high, short(high)]];
  const beside = state.split === "test" && ["iia", "iia_soft", "whole"].includes(state.metric) ? entry.found?.baselines : null;
  if (beside) marks.push(...[[beside.noop, `no-op ${short(beside.noop)}`], [beside.ceiling, `ceiling ${short(beside.ceiling)}`]].filter(([value]) => known(value)));
  const at = (value) => 100 * (value - low) / (high - low);
  const close = (value, i) => i < 2 && beside && [beside.noop, beside.ceiling].filter(known).some((m) => Math.abs(at(m) - at(value)) < 16);
  return h("div", { class: "bar", role: "img", "aria-label": `Colours from ${short(low)} to ${short(high)}` },
    h("div", { class: "ramp", style: `background:linear-gradient(90deg,${stops})` }),
    marks.map(([value, text], i) => h("span", { class: i < 2 ? "end" : "mark", style: `left:${at(value)}%` }, close(value, i) ? "" : text)));
}

const labelOf = (metric) => DATA.cells.measures.find((m) => m.name === metric)?.label ?? metric;
