"use strict";
// Elements, numbers as text, and the look of the page. Whatever comes from data becomes text nodes and attributes, never markup.

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// --- numbers and words ---

const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

/** A share with two digits: .93, 1.0; other numbers with three figures. */
function short(value) {
  if (!known(value)) return "–";
  if (Math.abs(value) > 1.005) return Number(value.toPrecision(3)).toLocaleString("en");
  if (value >= 0.995) return "1.0";
  return value.toFixed(2).replace("-0.00", "0.00").replace("0.", ".");
}

/** A measure's value: ranks count, all others read as shares. */
const told = (metric, value) => (metric.endsWith("rank") && known(value) ? Number(value.toPrecision(3)).toLocaleString("en") : short(value));

const between = (low, high) => (known(low) && known(high) ? `${short(low)}–${short(high)}` : "–");
const percent = (share) => `${Math.round(100 * share)} %`;
const counted = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const mean = (values) => {
  const some = values.filter(known);
  return some.length ? some.reduce((a, b) => a + b, 0) / some.length : NaN;
};

/** A token as a label: white space made visible. */
const shown = (token) => token.replace(/^ +| +$/g, "").replaceAll("\n", "↵") || "␣";

function placed(site) {
  const component = site.component === "block_output" ? "" : `${site.component}, `;
  return `${component}${DATA.layers.length ? "" : "layer "}${layerName(site.layer)}, ${site.position}`;
}

/** A task or a network: of a file its name alone. */
const fileName = (name) => (/\.(py|csv|tsv|jsonl?|parquet|gguf)$/.test(name) || /^[./~]/.test(name) ? name.split("/").findLast(Boolean) : name);

/** Seconds as a person says them. */
function lasted(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// --- verdicts ---

const VERDICTS = {
  "supported": ["●", "good", "The variable is there, and no rival account on the list could score as much."],
  "partly": ["◐", "part", "Better than luck, but it fails on some pairs, or a rival account could score as much."],
  "illusory": ["◌", "odd", "The swap works, but through directions in which the network does not differ on its own."],
  "not identifiable": ["◇", "open", "These pairs cannot tell this claim from another one."],
  "not above the null": ["○", "none", "The same search finds as much where there is nothing to be found."],
  "task not solved": ["✕", "none", "The network does not do the task, so there is nothing to explain."],
};

function badge(verdict) {
  const [mark, look] = VERDICTS[verdict] ?? ["·", "none"];
  return h("span", { class: `badge is-${look}` }, h("span", { "aria-hidden": "true" }, mark), ` ${verdict}`);
}

// --- sections ---

function section(id, title, lead, ...children) {
  const heading = h("h2", { id: `${id}-title` }, title);
  return h("section", { id, "aria-labelledby": `${id}-title` }, heading, lead && h("p", { class: "lead" }, lead), children);
}

let controls = 0;  // so that every control and figure has an id of its own

/** A figure with a caption; what it shows is said in `described`, for those who do not see it. */
function figure(caption, chart, described) {
  if (described) {
    const image = chart.matches("svg") ? chart : chart.querySelector("svg");
    image?.setAttribute("role", "img");
    image?.setAttribute("aria-label", described);
  }
  return h("figure", {}, caption && h("figcaption", {}, caption), chart);
}

/** A table. rows: lists of cells; a cell is a text, a node, or [content, attributes]. */
function table(caption, heads, rows, attributes = {}) {
  const cell = (tag, content, more = {}) =>
    Array.isArray(content) ? h(tag, { ...more, ...content[1] }, content[0]) : h(tag, more, content);
  const line = (row) => h("tr", {}, row.map((content, i) => cell(i ? "td" : "th", content, i ? {} : { scope: "row" })));
  const id = `caption-${controls++}`;
  return h("div", { class: "wide" }, h("p", { class: "caption", id }, caption),
    h("table", { ...attributes, "aria-labelledby": id },
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map(line))));
}

/** A labelled choice; null where there is nothing to choose. options: [value, label] each. */
function choice(label, options, value, changed) {
  if (options.length < 2) return null;
  const id = `control-${controls++}`;
  const select = h("select", { id, onchange: () => changed(options[select.selectedIndex][0]) },
    options.map(([own, text]) => h("option", { selected: own === value }, text)));
  return h("div", { class: "control" }, h("label", { for: id }, label), select);
}

const speak = (text) => { document.getElementById("spoken").textContent = text; };

// --- light and dark ---

const remembered = (() => {
  try { return window.localStorage; } catch { return null; }  // a notebook's frame has none
})();

function dark() {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function themeButton() {
  const saved = remembered?.getItem("das-theme");
  if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
  const label = () => (dark() ? "Light" : "Dark");
  const button = h("button", { type: "button", class: "quiet", id: "theme", onclick: () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    remembered?.setItem("das-theme", next);
    button.textContent = label();
  } }, label());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { button.textContent = label(); });
  let before;  // paper is light
  window.addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; document.documentElement.dataset.theme = "light"; });
  window.addEventListener("afterprint", () => { if (before) document.documentElement.dataset.theme = before; else delete document.documentElement.dataset.theme; });
  return button;
}
