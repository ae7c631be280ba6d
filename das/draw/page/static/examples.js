"use strict";
// Example pairs of one cell: a page of rows at a time, drawn when they are looked at.

const PAGE = 12;

/** A promise of a hypothesis' pairs, opened once. */
const pairsOf = (() => {
  const kept = new Map();
  return (name) => kept.get(name) ?? kept.set(name, openPairs(DATA.examples[name])).get(name);
})();

async function openPairs(spec) {
  if (!spec) return null;
  const columns = (named) => Promise.all(Object.entries(named).map(async ([name, column]) => [name, await coded(column)]));
  const roles = await Promise.all(spec.roles.map(async (role) => ({
    name: role.name, inputs: await columns(role.inputs), texts: role.texts && IN_WORDS ? await texts(role.texts) : null,
  })));
  const answers = Object.fromEntries(await columns(spec.answers));
  const answered = answers.base_answer.values.some((value) => value !== "–");  // else nobody says what a prompt's own answer is
  return { count: spec.count, roles, answers, answered, family: await coded(spec.family) };
}

/** Which pairs pass: 1 or 0 each. Words are sought in the values, of which there are far fewer than rows. */
function passing(pairs, hits, replies, { hit, flip, words }) {
  const pass = new Uint8Array(pairs.count).fill(1);
  const { answer, base_answer: before } = pairs.answers;
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const columns = [...pairs.roles.flatMap((role) => role.inputs.map(([name, column]) => [name, column])),
    ...Object.entries(pairs.answers), ["family", pairs.family], ...(replies ? [["given", replies]] : [])];
  const holds = wanted.map((word) => columns.map(([name, column]) =>
    [column.codes, column.values.map((value) => `${name}=${value.trim()}`.toLowerCase().includes(word))]));
  for (let row = 0; row < pairs.count; row++) {
    if (hit !== null && hits.at(row) !== hit) pass[row] = 0;
    else if (flip !== null && (answer.at(row) !== before.at(row)) !== flip) pass[row] = 0;
    else if (!holds.every((word) => word.some(([codes, has]) => has[codes[row]]))) pass[row] = 0;
  }
  return pass;
}

const roleName = (name) => (name === "base" ? "base" : `source of ${name.replace("source.", "")}`);

function values(role, row, base) {
  return h("span", { class: "values" }, role.inputs.map(([name, column]) => {
    const value = column.at(row), other = base?.inputs.find(([own]) => own === name)?.[1].at(row);
    const text = value.length > 60 ? `${value.slice(0, 59)}…` : value;
    return h("span", { class: base && other !== value ? "differs" : null }, h("i", {}, name), " ", text);
  }));
}

/** What a source's text has other than the base's, marked. */
function compared(text, base) {
  if (base === undefined || base === text) return [text];
  let start = 0, end = 0;
  const least = Math.min(text.length, base.length);
  while (start < least && text[start] === base[start]) start++;
  while (end < least - start && text.at(-1 - end) === base.at(-1 - end)) end++;
  const stop = text.length - end;
  return [text.slice(0, start), h("mark", {}, text.slice(start, stop)), text.slice(stop)];
}

function prompts(pairs, row) {
  const said = pairs.roles.filter((role) => role.texts);
  const base = said.find((role) => role.name === "base")?.texts.at(row);
  return h("dl", { class: "prompts" }, said.map((role) =>
    [h("dt", {}, roleName(role.name)), h("dd", {}, h("pre", {}, compared(role.texts.at(row), role.name === "base" ? undefined : base)))]));
}

/** The examples of one cell. */
async function examples(hypothesis, cell) {
  const [pairs, hits, replies] = await Promise.all([pairsOf(hypothesis), openHits(cell), openReplies(cell)]);
  if (!pairs || !hits || hits.count !== pairs.count) return h("p", { class: "note" }, "The folder holds no example pairs for this cell.");
  const state = { hit: null, flip: null, words: "", page: 0 };
  const body = h("tbody"), told = h("span", { class: "told", "aria-live": "polite" });
  const sources = pairs.roles.filter((role) => role.name !== "base"), base = pairs.roles.find((role) => role.name === "base");
  const turn = (by, label, text) => h("button", { type: "button", class: "quiet", "aria-label": label, onclick: () => { state.page += by; draw(); } }, text);
  const back = turn(-1, "Earlier pairs", "←"), on = turn(1, "Further pairs", "→");
  let rows = [];
  const sift = () => {
    const pass = passing(pairs, hits, replies, state);
    rows = [];
    for (let row = 0; row < pairs.count; row++) if (pass[row]) rows.push(row);
    state.page = 0;
    draw();
  };
  function draw() {
    const pages = Math.max(1, Math.ceil(rows.length / PAGE)), start = state.page * PAGE;
    body.replaceChildren(...rows.slice(start, start + PAGE).flatMap((row) => pairRow(pairs, hits, replies, base, sources, row)));
    told.textContent = rows.length ? `${start + 1}–${Math.min(rows.length, start + PAGE)} of ${counted(rows.length, "pair")}` : "no pair passes";
    back.disabled = state.page === 0;
    on.disabled = state.page >= pages - 1;
  }
  const pick = (name) => (value) => { state[name] = value; sift(); };
  let waiting;
  const search = h("input", { type: "search", id: `control-${controls++}`, placeholder: "e.g. flip or amount=5.2", oninput: () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { state.words = search.value; sift(); }, 120);
  } });
  sift();
  const right = d3.range(pairs.count).reduce((sum, row) => sum + hits.at(row), 0);
  return h("div", { class: "examples" },
    h("div", { class: "controls" },
      choice("show", [[null, `all ${pairs.count.toLocaleString("en")}`], [1, `right, ${right.toLocaleString("en")}`], [0, `wrong, ${(pairs.count - right).toLocaleString("en")}`]], null, pick("hit")),
      pairs.answered && choice("answer", [[null, "all"], [true, "should change"], [false, "should stay"]], null, pick("flip")),
      h("div", { class: "control" }, h("label", { for: search.id }, "containing"), search),
      h("div", { class: "pager" }, back, told, on)),
    h("div", { class: "wide" }, h("table", { class: "pairs" },
      h("caption", { class: "unseen" }, "Pairs of prompts, the answer that was expected after the swap, and what the network gave"),
      h("thead", {}, h("tr", {}, ["", "base", ...sources.map((role) => roleName(role.name)), ...(pairs.answered ? ["base's answer"] : []), "expected", "given", "family"].map((head) => h("th", { scope: "col" }, head)))),
      body)));
}

function pairRow(pairs, hits, replies, base, sources, row) {
  const hit = hits.at(row), { answer, base_answer: before } = pairs.answers;
  const given = replies ? shown(replies.at(row)) : hit ? answer.at(row) : "something else";
  const said = pairs.roles.some((role) => role.texts);
  const more = h("tr", { class: "more", hidden: true });
  const toggle = said && h("button", { type: "button", class: "quiet", "aria-expanded": "false", "aria-label": `Prompts of pair ${row + 1}`, onclick: () => {
    if (!more.childElementCount) more.append(h("td", { colspan: sources.length + 6 }, prompts(pairs, row)));
    more.hidden = !more.hidden;
    toggle.setAttribute("aria-expanded", String(!more.hidden));
  } }, String(row + 1));
  return [h("tr", { class: hit ? "hit" : "miss" },
    h("td", {}, toggle || String(row + 1)),
    h("td", {}, values(base, row)),
    sources.map((role) => h("td", {}, values(role, row, base))),
    pairs.answered && h("td", {}, before.at(row)),
    h("td", {}, !pairs.answered || answer.at(row) === before.at(row) ? answer.at(row) : h("b", {}, answer.at(row))),
    h("td", { class: "given" }, h("span", { "aria-hidden": "true" }, hit ? "✓ " : "✗ "), given),
    h("td", {}, pairs.family.at(row))), more];
}
