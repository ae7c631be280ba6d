"use strict";
// The sections of the page around the maps.

// --- head ---

function head() {
  const facts = [
    DATA.finished ? null : "not finished: what is there so far",
    DATA.under && `under the shift ${DATA.under}`,
    known(DATA.accuracy) && `task accuracy ${short(DATA.accuracy)}`,
    counted(DATA.cells.ids.length, "cell"),
    DATA.seconds && `${lasted(DATA.seconds)} of work`,
  ].filter(Boolean);
  return [
    h("div", { class: "top" }, h("p", { class: "kind" }, "Causal abstraction report"), themeButton()),
    h("h1", {}, fileName(DATA.task), h("span", {}, " in "), fileName(DATA.lm)),
    h("p", { class: "facts" }, facts.map((fact, i) => [i > 0 && h("span", { "aria-hidden": "true" }, " · "), fact])),
  ];
}

// --- verdicts ---

function verdictCard(entry) {
  const { found } = entry, verdict = found?.verdict;
  if (!found) return h("article", { class: "verdict" }, h("h3", {}, entry.full), h("p", { class: "note" }, "Not judged yet."));
  const beside = Object.entries(BESIDE).map(([name, label]) => [label, found.baselines[name]]);
  const nulls = Object.entries(found.nulls ?? {}).map(([name, null_]) => `${name} p = ${null_.p.toPrecision(2)}`);
  const sentence = verdict?.sentence.replace(`${entry.full}: ${verdict.verdict}`, "").replace(/^[.;] /, "") ?? "This folder kept no verdict.";
  return h("article", { class: "verdict" },
    h("h3", {}, entry.full), verdict && badge(verdict.verdict),
    h("p", { class: "sentence" }, sentence[0].toUpperCase() + sentence.slice(1)),
    figure(null, strip({ iia: found.test_iia, low: found.test_ci[0], high: found.test_ci[1] }, beside, entry.luck?.[0]),
      `IIA ${short(found.test_iia)}, interval ${between(...found.test_ci)}; ${beside.map(([label, v]) => `${label} ${short(v)}`).join(", ")}`),
    h("p", { class: "note" }, `Best at ${placed(found)}: ${found.subspace}, rank ${told("rank", found.rank)}${found.seeds ? `, ${counted(found.seeds.length, "seed")}` : ""}. `,
      nulls.length ? `Nulls: ${nulls.join(", ")}.` : "No nulls were run."));
}

function verdictSection() {
  const own = DATA.hypotheses.map((entry) => entry.found?.verdict?.verdict), beside = DATA.beside.flatMap(({ rows }) => rows.map((row) => row.verdict));
  const used = new Set([...own, ...beside].filter(Boolean));
  const words = Object.entries(VERDICTS).filter(([name]) => used.has(name));
  return section("verdicts", "Verdicts",
    "Does the network compute the variable? A part of its activation is swapped for that of another prompt. IIA is the share of pairs on which the answer then becomes what the causal model says. Grey in the charts: what luck reaches, without learning or in the nulls.",
    h("div", { class: "cards" }, DATA.hypotheses.map(verdictCard)),
    words.length > 0 && h("dl", { class: "words" }, words.map(([name, [, , text]]) => h("div", {}, h("dt", {}, badge(name)), h("dd", {}, text)))),
    comparisons());
}

function comparisons() {
  const signed = (x) => (x < 0 ? "−" : "+") + short(Math.abs(x));
  return DATA.comparisons.length > 0 && h("details", {}, h("summary", {}, "Comparisons on the same pairs"),
    table("Differences in IIA, with 95 % intervals", ["one", "other", "pairs", "difference", "interval", "p"],
      DATA.comparisons.map((c) => [c.one, c.other, c.pairs, signed(c.mean), `${signed(c.low)} to ${signed(c.high)}`, known(c.p) ? c.p.toPrecision(2) : "–"])));
}

// --- causal models and prompt ---

function modelSection() {
  const drawn = DATA.hypotheses.filter((entry) => entry.dag);
  if (!drawn.length) return null;
  const words = ({ dag, full }) => `${full}: ${dag.arrows.map(([from, to]) => `${from} goes into ${to}`).join(", ")}; aligned: ${dag.aligned.join(", ")}`;
  return section("models", "Causal models",
    "What each hypothesis claims: inputs below, the answer on top. The outlined variable is the one that is looked for in the network.",
    h("div", { class: "cards" }, drawn.map((entry) => figure(entry.full, dagChart(entry.dag), words(entry)))));
}

function marked({ text, positions }) {
  const marks = new Map();
  const single = Object.entries(positions).filter(([name]) => !joined(name)), several = Object.entries(positions).filter(([name]) => joined(name));
  for (const [name, spans] of [...single, ...several]) for (const [start, end] of spans) {
    const own = marks.get(start) ?? marks.set(start, { end, names: [] }).get(start);
    own.end = Math.max(own.end, end);
    if (!joined(name) || !own.names.length) own.names.push(positionName(name));
  }
  const parts = [];
  let at = 0;
  for (const [start, { end, names }] of [...marks].sort((a, b) => a[0] - b[0])) {
    if (start < at) continue;
    const [, token, breaks] = text.slice(start, end).match(/^([^]*?)(\n*)$/);  // the name stands before the lines end
    const said = token.replaceAll("\n", "↵\n") + "↵".repeat(breaks.length) || "␣";
    parts.push(text.slice(at, start), h("mark", { class: "token", "data-names": names.join(" "), title: names.join(", ") }, said), breaks);
    at = end;
  }
  return [...parts, text.slice(at)];
}

function promptSection() {
  const places = DATA.prompt ? Object.keys(DATA.prompt.positions) : Object.keys(DATA.tokens);
  if (!places.length) return null;
  const [title, lead] = IN_WORDS
    ? ["The prompt", "An example of what the network reads. Marked are the tokens at which its activations were swapped; −3 is the fourth token from the end."]
    : ["The input", "What the network is given of a setting, and the places at which its activations were swapped."];
  return section("prompt", title, lead,
    DATA.prompt ? h("pre", { class: "prompt" }, marked(DATA.prompt)) : h("p", { class: "note" }, "This folder kept the tokens at the positions, not the text."),
    h("ul", { class: "chips" }, places.map((name) => h("li", {}, tokenAt(name) !== null && h("code", {}, shown(tokenAt(name))), " ", positionName(name)))));
}

// --- maps ---

function mapSection(cells) {
  if (!cells.ids.length) return section("maps", "Where in the network", "No cell is finished yet.");
  const kinds = { components: cells.own.component.values, seeds: [...cells.own.seed.values].sort((a, b) => a - b) };
  const split = cells.splits.includes("test") ? "test" : cells.splits[0];
  const state = { split, metric: DATA.cells.measures[0].name, kind: null, component: null, seed: null, hypothesis: null };
  const maps = h("div", { class: "maps" }), bench = h("div", { id: "bench" }), controlBar = h("div", { class: "controls" });
  let from = null;
  const close = () => { bench.replaceChildren(); from?.focus(); };
  const open = async (entry, site, rect) => {
    from = rect;
    const { panel, heading } = await cellPanel(cells, entry, site, close);
    bench.replaceChildren(panel);
    heading.focus();
    panel.scrollIntoView({ block: "start" });
  };
  const draw = () => {
    const room = maps.clientWidth || 1040;
    const entries = DATA.hypotheses.filter((entry) => state.hypothesis === null || entry.name === state.hypothesis);
    const many = cells.own.position.values.length > 9 || entries.length === 1;
    maps.classList.toggle("single", many || room < 760);
    const width = many || room < 760 ? room : room / 2 - 20;
    maps.replaceChildren(...entries.map((entry) => h("figure", {},
      h("figcaption", {}, entry.full, " ", entry.found?.verdict && badge(entry.found.verdict.verdict)),
      heatmap(cells, entry, state, width, (site, rect) => open(entry, site, rect)))));
  };
  const measuresOf = () => {
    const there = cells.measured(state.split);
    return DATA.cells.measures.filter((m) => there.has(m.name)).map((m) => [m.name, m.label]);
  };
  const redo = () => {
    const names = measuresOf();
    if (!names.some(([name]) => name === state.metric)) state.metric = names[0][0];
    const set = (name) => (value) => { state[name] = value; redo(); speak(`${labelOf(state.metric)}, ${state.split} pairs`); };
    const focus = controlBar.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    const made = [
      ["hypothesis", [[null, "all"], ...DATA.hypotheses.map((e) => [e.name, e.full])].slice(DATA.hypotheses.length > 1 ? 0 : 1)],
      ["metric", names], ["split", cells.splits.map((s) => [s, { val: "validation pairs", test: "test pairs" }[s] ?? s])],
      ["kind", gridKinds(cells)],
      ["component", kinds.components.length > 1 ? [[null, "all"], ...kinds.components.map((c) => [c, c.replaceAll("_", " ")])] : []],
      ["seed", kinds.seeds.length > 1 ? [[null, "mean over seeds"], ...kinds.seeds.map((s) => [s, String(s)])] : []],
    ].map(([name, options]) => {
      const control = choice({ metric: "measure", kind: "found by" }[name] ?? name, options, state[name], set(name));
      control?.querySelector("select").setAttribute("data-name", name);
      return control;
    });
    controlBar.replaceChildren(...made.filter(Boolean));
    if (focus) controlBar.querySelector(`[data-name="${focus}"]`)?.focus();
    draw();
  };
  const made = section("maps", "Where in the network",
    "A cell is one layer and one position. Click one, or move with the arrow keys and press Enter, to see what it rests on. Outlined in red: the cell that was chosen, on validation pairs.",
    controlBar, maps, bench);
  return Object.assign(made, { begin: () => {
    redo();
    let width = window.innerWidth, waiting;
    window.addEventListener("resize", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { if (window.innerWidth !== width) { width = window.innerWidth; draw(); } }, 150);
    });
  } });
}

// --- shifts ---

function shiftSection() {
  if (!DATA.shifts?.rows?.length) return null;
  const { rows } = DATA.shifts;
  const tested = [...new Set(rows.map((row) => row.tested))], trained = [...new Set(rows.map((row) => row.trained))];
  const cell = (row) => (row && known(row.iia)
    ? [[short(row.iia), h("small", {}, between(row.low, row.high)), h("small", {}, `no-op ${short(row.noop)}`)], { ...shade(row.iia), title: row.outcome }] : ["", { class: "unasked" }]);
  const matrix = ([full, mine]) => table(h("b", {}, full), ["trained ↓ tested →", ...tested],
    trained.map((from) => [from, ...tested.map((at) => cell(mine.find((row) => row.trained === from && row.tested === at)))]), { class: "shares" });
  const home = rows.filter((row) => row.trained !== row.tested);
  return section("shifts", "Under other prompts",
    "The same alignments on the same question put otherwise: the IIA at the cell chosen where it was trained, its interval, and what no swap gives.",
    h("div", { class: "row" }, d3.groups(rows, (row) => row.hypothesis).map(matrix)),
    h("details", {}, h("summary", {}, "What became of each alignment"),
      table("Outcomes", ["hypothesis", "trained", "tested", "task accuracy", "IIA", "flip IIA", "maps correlate", "outcome"],
        home.map((row) => [row.hypothesis, row.trained, row.tested, short(row.task_accuracy), short(row.iia), short(row.flip_iia), short(row.correlation), row.outcome]))));
}

// --- training and provenance ---

function trainingSection() {
  if (!DATA.training.length) return null;
  return section("training", "Training", "The loss of the cells that were trained together.",
    figure(null, lossChart(DATA.training), `Loss by step: ${DATA.training.map((c) => `${c.stage} from ${short(c.loss[0])} to ${short(c.loss.at(-1))}`).join("; ")}`));
}

function auditTable() {
  const entries = Object.entries(DATA.audit);
  const shares = (named) => Object.entries(named ?? {}).map(([name, share]) => `${name} ${short(share)}`).join(", ");
  return entries.length > 0 && table("Test pairs", ["hypothesis", "pairs", "base prompts", "families", "answers after the swap", "no-op"],
    entries.map(([name, a]) => [name, (a.pairs ?? 0).toLocaleString("en"), (a.distinct_bases ?? 0).toLocaleString("en"), shares(a.families), shares(a.answers) || "many", short(a.noop)]));
}

function copyButton(text) {
  const button = h("button", { type: "button", class: "quiet", onclick: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = "Select and copy"; }
  } }, "Copy");
  return button;
}

function provenanceSection() {
  const made = [
    ["das", DATA.version], ["Python", DATA.python], ...Object.entries(DATA.versions),
    ...Object.entries(DATA.weights).map(([file, print]) => [`weights, ${file}`, print]),
    ...Object.entries(DATA.functions).map(([name, print]) => [`the task's function ${name}`, print]),
  ].filter(([, value]) => value);
  return section("provenance", "How it was made", null,
    h("p", {}, "Save the settings below as ", h("code", {}, "again.yaml"), " and run:"),
    h("pre", { class: "command" }, DATA.command), copyButton(DATA.command),
    h("div", { class: "settings" }, h("pre", {}, DATA.config), copyButton(DATA.config)),
    auditTable(),
    h("dl", { class: "made" }, made.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("code", {}, value))))));
}
