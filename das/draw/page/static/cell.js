"use strict";
// One cell, opened: its figures, what they are held against, its rank curve, its scorecard, where it fails, its examples.

const BESIDE = { noop: "no-op", majority: "commonest answer", random: "random subspace", whole: "whole vector", ceiling: "network's own (ceiling)" };

function tiles(figures) {
  return h("dl", { class: "tiles" }, figures.filter(([, value]) => known(value)).map(([label, value, more]) =>
    h("div", {}, h("dt", {}, label), h("dd", {}, value, more && h("small", {}, more)))));
}

/** Mean, least and most of several curves, at the ranks that all have. */
function together(curves, times) {
  const by = d3.rollup(curves.flat(), (points) => points.map((p) => p[1]), (p) => p[0]);
  const most = Math.max(...[...by.values()].map((points) => points.length));
  return [...by].filter(([, points]) => points.length === most).sort((a, b) => a[0] - b[0])
    .map(([width, points]) => [width * times, mean(points), Math.min(...points), Math.max(...points)]);
}

async function rankPart(cells, entry, kinds, chosen) {
  const all = await openCurves(), times = entry.full.split("+").length;
  const split = kinds.some(([, own]) => own.some((cell) => all.get(cell)?.test)) ? "test" : "val";
  const curves = kinds.map(([label, own]) => [label, own.map((cell) => all.get(cell)?.[split]).filter(Boolean)])
    .filter(([, some]) => some.length).map(([label, some]) => ({ label, points: together(some, times) })).filter((curve) => curve.points.length > 1);
  if (!curves.length && !(chosen && entry.nulls?.length)) return null;
  const value = (own, metric) => mean(own.map((cell) => cells.value(cell, "test", metric)));
  const ranks = kinds.map(([label, own]) => ({ label, rank: value(own, "rank"), iia: value(own, "iia") }));
  const own = kinds[0][1];
  const baselines = [["whole", "whole vector", "7 4"], ["noop", "no-op", "2 3"]]
    .map(([metric, label, dash]) => ({ label, value: value(own, metric), dash })).filter((b) => known(b.value));
  return figure("IIA by rank", rankCurve({ curves, ranks, nulls: chosen ? entry.nulls ?? [] : [], baselines, limit: entry.luck?.[0], times, split }),
    `IIA against the number of swapped columns; ${ranks.map((r) => `${r.label}: rank ${told("rank", r.rank)}, IIA ${short(r.iia)}`).join("; ")}`);
}

// --- the scorecard of a chosen cell ---

function shade(value) {
  if (!known(value)) return { class: "unasked" };
  const colour = d3.interpolateViridis(value);
  return { style: `background:${colour};color:${inkOn(colour)}`, class: "shade" };
}

function effectTable({ rows, columns, shares }) {
  return table("Cause: answers flipped that should flip. Others: answers kept that the other variable would flip. Empty: not asked.",
    ["swapped", ...columns], rows.map((row, i) => [row, ...shares[i].map((share) => [known(share) ? short(share) : "", shade(share)])]), { class: "shares" });
}

const MORE = { disentangle: "mean of cause and isolation", complete: "answer kept when all but the subspace is swapped", rest: "IIA of swapping all but the subspace", read_share: "of the subspace, where the network reads", ablation: "accuracy lost when the subspace is resampled", recovery: "of that regained by putting it back" };

function scorecard(entry) {
  const card = entry.found.scorecard;
  if (!card) return null;
  const more = Object.entries(MORE).filter(([name]) => known(card[name])).map(([name, text]) => [name.replace("_", " "), short(card[name]), text]);
  return h("div", { class: "part" }, h("h4", {}, "Scorecard"),
    entry.levels?.length > 0 && figure("Four levels of evidence", h("div", { class: "wide" }, levelChart(entry.levels)),
      entry.levels.map((step) => `${step.label}: ${step.words}`).join("; ")),
    entry.effects?.rows.length > 0 && effectTable(entry.effects), tiles(more),
    Object.entries(card.dose ?? {}).map(([variable, dose]) => dosePart(variable, dose)));
}

/** What adding the first direction of a variable does. */
function dosePart(variable, dose) {
  const ends = (curve) => `${short(curve[0])} at ${dose.alpha[0]} to ${short(curve.at(-1))} at ${dose.alpha.at(-1)}`;
  const measure = dose.add.probability ? "probability" : "accuracy";
  return figure(`Dose: the direction of ${variable}, added`, doseChart(dose),
    `Of the answer of the upper level, ${measure} ${ends(dose.add[measure])} times the natural spread; of a random direction ${ends(dose.random[measure])}`);
}

function failures(entry) {
  const groups = entry.found.failures ?? [];
  const line = (group) => h("li", {},
    h("div", { class: "condition" }, group.conditions),
    h("div", { class: "track" }, h("div", { class: "full", style: `width:${100 * group.iia}%` }), h("div", { class: "tick", style: `left:${100 * entry.found.test_iia}%` })),
    h("div", { class: "note" }, `IIA ${short(group.iia)} on ${group.rest ? "another " : ""}${percent(group.share)} of the pairs (${group.pairs.toLocaleString("en")}), with ${percent(group.failures)} of the failures`));
  return h("div", { class: "part" }, h("h4", {}, "Where it fails"),
    groups.length ? h("ul", { class: "groups" }, groups.map(line)) : h("p", { class: "note" }, "No group of pairs stands out."), byValue(entry));
}

/** IIA by each variable's value in the base and in the source. */
function byValue(entry) {
  const groups = d3.groups(entry.by_value ?? [], (row) => row.swapped, (row) => row.variable);
  if (!groups.length) return null;
  const one = ([variable, rows]) => {
    const [down, across] = ["base", "source"].map((side) => [...new Set(rows.map((row) => String(row[side])))]);
    const at = new Map(rows.map((row) => [`${row.base}\n${row.source}`, row]));
    const cell = (a, b) => {
      const row = at.get(`${a}\n${b}`);
      return row ? [short(row.iia), { ...shade(row.iia), title: counted(row.pairs, "pair") }] : ["", { class: "unasked" }];
    };
    return table(h("b", {}, variable), ["base ↓ source →", ...across], down.map((a) => [a, ...across.map((b) => cell(a, b))]), { class: "shares" });
  };
  return h("details", {}, h("summary", {}, "IIA by the variables' values in base and source"),
    groups.map(([swapped, variables]) => [groups.length > 1 && h("h5", {}, `swapping ${swapped}`), h("div", { class: "row" }, variables.map(one))]));
}

// --- the panel ---

function seedTable(cells, own) {
  const metrics = ["iia", "flip_iia", "rank"].filter((metric) => own.some((cell) => known(cells.value(cell, "test", metric))));
  return own.length < 2 ? null : table("By seed", ["seed", "validation IIA", ...metrics.map((m) => (m === "rank" ? "rank" : `test ${labelOf(m)}`))],
    own.map((cell) => [String(cells.site(cell).seed), short(cells.value(cell, "val", "iia")), ...metrics.map((m) => told(m, cells.value(cell, "test", m)))]));
}

/** What of a scorecard tells kinds apart. */
const EVIDENCE = ["decoding", "cause", "isolate", "ablation", "recovery", "right reconstructed"];

/** Everything that was found at a cell, trained or not, side by side. */
function kindTable(cells, entry, kinds, chosen) {
  if (kinds.length < 2) return null;
  const evidence = (kind) => (chosen && entry.evidence[kind]) || {};
  const metrics = ["iia", "flip_iia", "rank"].filter((metric) => kinds.some(([, own]) => known(cells.value(own[0], "test", metric))));
  const asked = EVIDENCE.filter((name) => kinds.some(([kind]) => known(evidence(kind)[name])));
  const figure = (value) => (known(value) ? short(value) : "");
  const row = ([kind, own]) => [DATA.closed.includes(kind) ? `${kind} (not trained)` : kind,
    ...metrics.map((m) => told(m, mean(own.map((cell) => cells.value(cell, "test", m))))), ...asked.map((name) => figure(evidence(kind)[name]))];
  return table("What was found here, by kind", ["kind", ...metrics.map(labelOf), ...asked], kinds.map(row));
}

/** All measures of the cells of one kind, means over seeds. */
function allMeasures(cells, own) {
  const names = DATA.cells.measures.filter((m) => cells.splits.some((split) => own.some((cell) => known(cells.value(cell, split, m.name)))));
  const row = (m) => [m.label, ...cells.splits.map((split) => told(m.name, mean(own.map((cell) => cells.value(cell, split, m.name)))))];
  return h("details", {}, h("summary", {}, "All measures"), table("Means over seeds", ["measure", ...cells.splits], names.map(row)));
}

/** An opened cell: all seeds and kinds of subspace at its site. closed: called when it is put away. */
async function cellPanel(cells, entry, site, closed) {
  const kinds = d3.groups(cells.at(site), (cell) => cells.site(cell).subspace).sort((a, b) => (b[0] === site.subspace) - (a[0] === site.subspace));
  const [kind, own] = kinds[0], searched = site.chosen && kind === entry.found.subspace;
  const value = (metric) => mean(own.map((cell) => cells.value(cell, "test", metric)));
  const iia = { iia: value("iia"), low: site.low, high: site.high };
  const figures = [
    ["IIA", short(iia.iia), known(site.low) ? ` ${between(site.low, site.high)}` : ""],
    ...["flip_iia", "normalised", "rank", "off_manifold"].map((metric) => [labelOf(metric), known(value(metric)) ? told(metric, value(metric)) : NaN]),
  ];
  const beside = Object.entries(BESIDE).map(([metric, label]) => [label, value(metric)]);
  const heading = h("h3", { tabindex: -1, id: "cell-title" }, `${entry.full} at ${placed(site)}`);
  const put = async (cell) => list.replaceChildren(await examples(entry.name, cell));
  const list = h("div", {});
  const options = own.map((cell) => [cell, `seed ${cells.site(cell).seed}`]);
  const panel = h("article", { class: "panel", id: "cell", "aria-labelledby": "cell-title", onkeydown: (event) => { if (event.key === "Escape") closed(); } },
    h("button", { type: "button", class: "quiet close", onclick: closed }, "Close"),
    heading,
    h("p", { class: "note" }, `${kind}, ${counted(own.length, "seed")}${site.chosen ? "; chosen on validation pairs" : ""}. Figures are of test pairs, means over seeds.`),
    tiles(figures),
    h("div", { class: "row" },
      figure("IIA beside what it is held against; grey: what luck reaches", strip(iia, beside, entry.luck?.[0]), `IIA ${short(iia.iia)}; ${beside.map(([label, v]) => `${label} ${short(v)}`).join(", ")}`),
      await rankPart(cells, entry, kinds, site.chosen)),
    kindTable(cells, entry, kinds, site.chosen),
    searched ? [scorecard(entry), failures(entry)] : h("p", { class: "note" }, site.chosen
      ? `The scorecard and the failing groups are shown for ${entry.found.subspace}, which the grid was searched with.`
      : "Scorecards, failing groups and nulls' curves are made for the chosen cell, outlined in red."),
    own.map((cell) => insidePart(cells.ids[cell])),
    h("div", { class: "part" }, h("h4", {}, "Examples"), h("div", { class: "controls" }, choice("of", options, own[0], put)), list),
    seedTable(cells, own), allMeasures(cells, own));
  await put(own[0]);
  return { panel, heading };
}
