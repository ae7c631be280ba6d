"use strict";
// What the page holds: plain data at once, long columns when they are asked for.

const DATA = JSON.parse(document.getElementById("data").textContent);
const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };
const opened = new Map();

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

async function unpacked(spec) {
  const packed = bytesOf(document.getElementById(`blob-${spec.blob}`).textContent);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new ARRAYS[spec.type](await new Response(stream).arrayBuffer());
}

/** A promise of a typed array. */
function numbers(spec) {
  if (!opened.has(spec.blob)) opened.set(spec.blob, unpacked(spec));
  return opened.get(spec.blob);
}

/** A promise of a column of repeating values: `values`, `codes`, and `at(row)`. */
async function coded(spec) {
  const codes = await numbers(spec.codes);
  return { values: spec.values, codes, at: (row) => spec.values[codes[row]] };
}

/** A promise of a column of long texts: `at(row)`. */
async function texts(spec) {
  const [codes, ends, bytes] = await Promise.all([numbers(spec.codes), numbers(spec.ends), numbers(spec.bytes)]);
  const decoder = new TextDecoder();
  const between = (code) => decoder.decode(bytes.subarray(code ? ends[code - 1] : 0, ends[code]));
  return { at: (row) => spec.before + between(codes[row]) + spec.after };
}

// --- cells ---

/** A promise of the cells: `ids`, `site(cell)`, `value(cell, split, metric)`, `dead(cell)`, `at(site)`, `splits(metric)`. */
async function openCells() {
  const { ids, sites, columns } = DATA.cells;
  const names = Object.keys(sites);
  const [values, ...parts] = await Promise.all([numbers(DATA.cells.values), ...names.map((name) => coded(sites[name]))]);
  const own = Object.fromEntries(names.map((name, i) => [name, parts[i]]));
  const column = new Map(columns.map(({ split, metric }, i) => [`${split}\n${metric}`, i]));
  const site = (cell) => Object.fromEntries(names.map((name) => [name, own[name].at(cell)]));
  const value = (cell, split, metric) => {
    const at = column.get(`${split}\n${metric}`);
    return at === undefined ? NaN : values[cell * columns.length + at];
  };
  const key = (s) => JSON.stringify([s.hypothesis, s.layer, s.component, s.position]);
  const index = new Map();
  for (let cell = 0; cell < ids.length; cell++) {
    const place = key(site(cell));
    if (!index.has(place)) index.set(place, []);
    index.get(place).push(cell);
  }
  const dead = (cell) => known(value(cell, "test", "iia")) && !known(value(cell, "test", "rank"));  // nothing was trained there
  const splits = [...new Set(columns.map((c) => c.split))];
  const measured = (split) => new Set(columns.filter((c) => c.split === split).map((c) => c.metric));
  return { ids, own, site, value, dead, splits, measured, at: (place) => index.get(key(place)) ?? [] };
}

/** The kind of subspace that a hypothesis' grid was searched with. */
function mainKind(cells, entry) {
  if (entry.found) return entry.found.subspace;
  const count = new Map();
  cells.ids.forEach((_, cell) => {
    const { hypothesis, subspace } = cells.site(cell);
    if (hypothesis === entry.name && !DATA.closed.includes(subspace)) count.set(subspace, (count.get(subspace) ?? 0) + 1);
  });
  return [...count].sort((a, b) => b[1] - a[1])[0]?.[0];
}

/** What can be shown of a grid: the kind that it was searched with (null), and those that stand beside every cell of it. */
const gridKinds = (cells) => [[null, "the search"], ...cells.own.subspace.values.filter((kind) => DATA.closed.includes(kind))
  .map((kind) => [kind, `${kind}, not trained`])];

const positionName = (position) => position.replace("last-", "−");

/** Whether the network reads words. */
const IN_WORDS = !DATA.prompt || Object.values(DATA.prompt.positions).some((spans) => spans.length);

/** A layer, or several as one site, by name where layers have names. */
const layerName = (layer) => (DATA.layers.length ? String(layer).replace(/\d+/g, (number) => DATA.layers[number]) : String(layer));

/** Position → the text of its token(s) in the example prompt. */
const tokenAt = (position) => DATA.tokens[position] ?? null;

/** Whether a position joins several, or takes its vector from another one. */
const joined = (position) => /<-|\+(?!\d)/.test(position);

/** A promise of a run's rank curves: cell → split → [width, IIA] each. */
async function openCurves() {
  const { cell, split, width, value } = DATA.cells.curves;
  const [cells, splits, widths, values] = await Promise.all([numbers(cell), coded(split), numbers(width), numbers(value)]);
  const curves = new Map();
  cells.forEach((own, row) => {
    const of = curves.get(own) ?? curves.set(own, {}).get(own);
    (of[splits.at(row)] ??= []).push([widths[row], values[row]]);
  });
  return curves;
}

/** A promise of a cell's hits: whether it got a test pair right; null where they were not kept. */
async function openHits(cell) {
  const { pairs, bits } = DATA.cells.hits;
  if (!pairs[cell]) return null;
  const bytes = await numbers(bits);
  let start = 0;
  for (let i = 0; i < cell; i++) start += Math.ceil(pairs[i] / 8);
  return { count: pairs[cell], at: (pair) => (bytes[start + (pair >> 3)] >> (pair & 7)) & 1 };
}

/** A promise of what was answered to the test pairs under a cell's swap; null where it was not kept. */
const openReplies = async (cell) => {
  const spec = DATA.cells.replies[DATA.cells.ids[cell]];
  return spec ? coded(spec) : null;
};
