const CONCEPT_SORTS = {
  concept: { name: "Concept", of: (c) => c.id },
  effect: { name: DATA.plan ? "Today, sd" : "Effect, sd", of: (c) => -Math.abs(c.delta[0]) },
  length: { name: "At equal length", of: (c) => (c.length ? -Math.abs(c.length[0]) : 0) },
  left: { name: "With the plan", of: (c) => -Math.abs(c.planned) },
  q: { name: "q", of: (c) => c.q },
  rate: { name: "Rejected → chosen", of: (c) => (c.chosen === null ? 0 : -Math.abs(c.chosen - c.rejected)) },
};
const conceptView = { sort: DATA.plan ? "left" : "effect", up: false, most: 12 };

/** Library concepts: a dot plot and a table in one. */
function drawConcepts() {
  const sort = CONCEPT_SORTS[conceptView.sort];
  const list = [...CONCEPTS].sort((a, b) => (sort.of(a) < sort.of(b) ? -1 : sort.of(a) > sort.of(b) ? 1 : 0));
  if (conceptView.up) list.reverse();
  const head = (key) => {
    const order = conceptView.sort === key ? (conceptView.up ? "ascending" : "descending") : "none";
    const cell = sortHead(CONCEPT_SORTS[key].name, "sort", order, () => {
      Object.assign(conceptView, { up: conceptView.sort === key && !conceptView.up, sort: key });
      drawConcepts();
      byKey("concepts").querySelector(`[data-sort=${key}] button`).focus();
    });
    cell.dataset.sort = key;
    if (key === "concept") cell.className = "";
    return cell;
  };
  byKey("concepts").replaceChildren(
    el("thead", null, el("tr", null, head("concept"), el("th", { scope: "col", class: "figure" }, el("span", { class: "hidden" }, "Figure"), glyphAxis(CONCEPT_REACH, 220)),
      head("effect"), head("length"), DATA.plan ? head("left") : null, head("q"), head("rate"), el("th", { scope: "col", class: "figure" }, el("span", { class: "hidden" }, "Figure"), rateAxis()), el("th", { scope: "col" }, "In the spec"))),
    el("tbody", null, list.slice(0, conceptView.most).map(conceptRow)));
  moreButton(byKey("concepts-more"), list.length, Math.min(list.length, conceptView.most), () => { conceptView.most += 100; drawConcepts(); });
}

function rateAxis() {
  return svg("svg", { class: "glyph-axis rates", viewBox: "0 0 110 14", "aria-hidden": "true" },
    svg("text", { x: 6, y: 11, "text-anchor": "start" }, "0"), svg("text", { x: 104, y: 11, "text-anchor": "end" }, "100%"));
}

function conceptRow(c) {
  const rates = c.chosen === null ? NONE : `${share(c.rejected)} → ${share(c.chosen)}`;
  return el("tr", { class: lean(c.delta[0]) }, el("th", { scope: "row" }, el("span", { class: "name" }, c.id), el("span", { class: "sub" }, c.about)),
    el("td", { class: "figure" }, intervalGlyph(c, CONCEPT_REACH, 220)),
    el("td", { class: "n k-delta" }, el("span", { class: DATA.plan ? null : "amount" }, signed(c.delta[0])), el("span", { class: "ci" }, between(c.delta))),
    el("td", { class: "n k-length" }, c.length ? signed(c.length[0]) : NONE),
    DATA.plan ? el("td", { class: "n k-left" }, c.planned === null ? NONE : [el("span", { class: `amount ${lean(c.planned)}` }, signed(c.planned)), el("span", { class: "ci" }, remains(c))]) : null,
    el("td", { class: "n k-q" }, chance(c.q)), el("td", { class: "n k-rates" }, rates), el("td", { class: "figure k-dumbbell" }, rateGlyph(c)),
    el("td", { class: "choose" }, verbButtons(c.id)));
}
