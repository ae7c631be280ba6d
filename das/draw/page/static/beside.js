"use strict";
// Circuits and edits beside the alignments of the same hypothesis: what was claimed, four levels, nulls, verdict.

const LEVELS_ASKED = ["decoding", "interchange", "ablation", "recovery"];

/** Figures in words, one below the other; what was not asked says so. */
const figures = (words) => (words.length ? h("ul", { class: "figures" }, words.map((word) => h("li", {}, word))) : h("span", { class: "unasked-word" }, "not asked"));

function claimRow(row) {
  const claim = h("div", {}, h("small", {}, row.kind), row.claim);
  const nulls = row.nulls.length ? figures(row.nulls) : h("span", { class: "unasked-word" }, "none run");
  return [claim, ...LEVELS_ASKED.map((level) => figures(row.levels[level])), nulls, badge(row.verdict)];
}

function claimTable({ hypothesis, rows, pictures }) {
  const why = rows.filter((row) => row.kind !== "alignment");
  return h("article", { class: "claims" },
    table(h("b", {}, hypothesis), ["what is claimed", ...LEVELS_ASKED, "beside it", "verdict"], rows.map(claimRow), { class: "claimed" }),
    h("details", { open: why.length < 3 }, h("summary", {}, "The verdicts in full"), why.map((row) => h("p", { class: "why" }, row.sentence))),
    h("div", { class: "pictures" }, pictures.map(({ source, title }) =>
      h("figure", {}, h("figcaption", {}, title), h("img", { src: source, alt: title, loading: "lazy" })))));
}

function besideSection() {
  if (!DATA.beside.length) return null;
  return section("beside", "Circuits and edits",
    "What else was found of these hypotheses, before the same judge. An alignment says where a variable lies, a circuit by which edges it reaches the answer, an edit where a fact can be rewritten. An arrow leads from what is there without it; in brackets the 95 % interval.",
    DATA.beside.map(claimTable));
}
