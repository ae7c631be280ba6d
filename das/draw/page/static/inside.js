"use strict";
// The inside of a cell's subspace, where `das look` has written it into the run's folder.

const SHAPES = ["circle", "square", "triangle", "diamond", "star", "cross", "wye"];

/** Prompts in the first columns of a variable, coloured by its value; beside one column stands the value. */
function projectionChart(rows, name) {
  const values = [...new Set(rows.map((row) => row.value))];
  const numbers = values.length > SHAPES.length && values.every((value) => typeof value === "number");
  const flat = !known(rows[0].c2), kind = (row) => String(row.value);
  return Plot.plot({
    width: 420, height: 300, marginLeft: flat && !numbers ? 90 : 44, marginBottom: 40, style: STYLE,
    x: { label: "column 1", labelArrow: "none", labelAnchor: "center" },
    y: { label: flat ? name : "column 2", labelArrow: "none", type: flat && !numbers ? "point" : undefined },
    color: numbers ? { scheme: "viridis", legend: true, label: name } : { range: ["var(--accent)", "var(--found)", "var(--n2)", "var(--n3)", "var(--n1)", "var(--soft)"], legend: true },
    symbol: numbers ? undefined : { range: SHAPES, legend: false },
    marks: [Plot.dot(rows, {
      x: "c1", y: flat ? (numbers ? "value" : kind) : "c2", r: 2.6, fillOpacity: 0.8,
      fill: numbers ? "value" : kind, symbol: numbers ? undefined : kind,
    })],
  });
}

const spreadTable = (rows) => table("Where it lies, beside random subspaces of its rank", ["", "found", "random, mean (95 %)"],
  rows.map((row) => [row.figure, short(row.found), `${short(row.mean)} (${short(row.low)} to ${short(row.high)})`]));

const largest = (rows, name) => (rows.length ? h("p", { class: "note" }, `Largest ${name}: `,
  rows.slice(0, 8).map((row) => `${row.entry ?? row.unit} ${short(row.share)}`).join(", ")) : null);

function tokenTable(rows) {
  const lines = d3.groups(rows, (row) => `column ${row.column}${row.place ?? ""} ${row.end}`);
  return lines.length ? table("Tokens that the columns promote, both ways", ["column", "tokens"],
    lines.map(([name, own]) => [name, h("span", {}, own.slice(0, 8).map((row) => [h("code", {}, shown(String(row.token))), "  "]))])) : null;
}

/** Of a cell, if it was looked into. */
function insidePart(id) {
  const inside = DATA.inside[id];
  if (!inside) return null;
  const own = (name, variable) => (inside[name] ?? []).filter((row) => row.variable === variable);
  const one = (variable) => [
    h("div", { class: "row" },
      d3.groups(own("projections", variable), (row) => row.part ?? "").map(([part, rows]) =>
        figure(`Prompts in the columns of ${variable}${part}`, projectionChart(rows, `${variable}${part}`), `${counted(rows.length, "prompt")} by their coordinates, coloured by ${variable}`)),
      h("div", {}, own("spread", variable).length > 0 && spreadTable(own("spread", variable)), largest(own("entries", variable), "entries"), largest(own("units", variable), "units"))),
    tokenTable(own("tokens", variable)),
  ];
  return h("div", { class: "part" }, h("h4", {}, "Inside the subspace"), inside.variables.map(one),
    Object.entries(inside.notes ?? {}).map(([name, note]) => h("p", { class: "note" }, `${name}: ${note}`)));
}
