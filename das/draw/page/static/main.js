"use strict";
// Puts the page together.

(async () => {
  document.getElementById("head").append(...head());
  const cells = await openCells();
  const maps = mapSection(cells);
  const made = [verdictSection(), modelSection(), promptSection(), maps, besideSection(), shiftSection(), trainingSection(), provenanceSection()].filter(Boolean);
  document.getElementById("main").append(...made);
  document.getElementById("contents").append(h("ul", {}, made.map((part) =>
    h("li", {}, h("a", { href: `#${part.id}` }, part.querySelector("h2").textContent)))));
  maps.begin?.();
  document.documentElement.dataset.ready = "true";
})();
