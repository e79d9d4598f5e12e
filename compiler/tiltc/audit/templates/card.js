/** Everything about the selected hypothesis. */
function drawCard() {
  const h = BY_ID.get(state.h);
  const card = byKey("card");
  if (!h || h.tab !== state.view) {
    card.replaceChildren(el("p", { class: "quiet" }, "Select a hypothesis to see its context, its responses, its numbers and example pairs."));
    return;
  }
  card.replaceChildren(cardHead(h), cardFigure(h), cardNumbers(h), ...[h.where && contextPart(h.where, h), responsePart(h.what), linksPart(h), examplesPart(h)].filter((part) => part));
  card.scrollTop = 0;
}

function cardHead(h) {
  const more = h.delta[0] > 0 ? "more" : "less";
  return el("header", null,
    el("p", { class: "eyebrow" }, h.where ? (h.view === "feature" ? "where the pair is about" : "when the prompt is about") : "over the whole data set"),
    h.where ? el("p", { class: "card-where" }, h.where.title) : null,
    el("h3", { id: "card-title", tabindex: "-1" }, el("span", { class: "lean " + lean(h.delta[0]) }, `chosen responses show ${more} of`), h.what.title),
    DATA.plan && h.planned !== null ? el("p", { class: "remains" }, el("strong", null, remains(h)), ` with the plan: ${signed(h.delta[0])} today, then ${signed(h.planned)}`) : null,
    verbButtons(h.id), h.where && h.view === "feature" ? el("p", { class: "small quiet" }, "A context of this view is made of responses, so no gate can stand for it: the signal acts everywhere.") : null);
}

function cardFigure(h) {
  const most = Math.max(reach([h]), h.noise, ...(h.length ? [Math.abs(h.length[1]), Math.abs(h.length[2])] : []), Math.abs(h.planned || 0)) * 1.08;
  const key = [["k-range", "95% interval"], ["k-length", "at equal length"], ["k-band", "label swaps, 95%"], ...(DATA.plan ? [["k-planned", "with the plan"]] : [])];
  return el("figure", { class: `big ${lean(h.delta[0])}` }, glyphAxis(most, 400), intervalGlyph(h, most, 400, 34),
    el("p", { class: "ends" }, el("span", null, "← leans to rejected"), el("span", null, "leans to chosen →")),
    el("figcaption", { class: "key" }, key.map(([kind, name]) => el("span", null, el("i", { class: kind }), name))));
}

function cardNumbers(h) {
  const [a, b] = [h.agrees ? "same sign" : "opposite signs", `smaller ${number(h.min)}`];
  const facts = [
    [DATA.plan ? "Delta today" : "Delta", `${signed(h.delta[0])} (${between(h.delta)}) ${UNIT[h.view]}`],
    ["At equal length", h.length ? `${signed(h.length[0])} (${between(h.length)})` : "can't be estimated"],
    ["At equal difference", signed(h.difference)],
    ["d · z", `${signed(h.d, 2)} · ${signed(h.z, 1)}`], ["p · q", `${chance(h.p)} · ${chance(h.q)}`],
    ["Halves", `${a}, ${b}`], ["Noise", `label swaps reach ${number(h.noise)}`],
    [h.where ? "Inside · outside" : "Mean", h.where ? `${signed(h.inside)} · ${signed(h.outside)}` : signed(h.inside)],
    ["Rows", count(h.rows)],
  ].filter((fact) => fact);
  return el("dl", { class: "numbers" }, facts.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))));
}

const termList = (terms) => (terms.length ? el("p", { class: "terms" }, terms.slice(0, 12).map((term) => [el("span", null, term), " "])) : null);

function part(name, note, ...children) {
  return el("section", { class: "part" }, el("h4", null, name, " ", el("span", { class: "quiet" }, note)), children);
}

function contextPart(context) {
  return part("Context", `${count(context.rows)} rows · ${context.id}`, termList(context.terms),
    el("ul", { class: "prompts" }, context.prompts.slice(0, 5).map((prompt) => el("li", null, cut(prompt, 220)))));
}

function responsePart(cluster) {
  const near = cluster.nearest.slice(0, 3).map(([name, value, low, high]) =>
    el("li", null, el("code", null, name), ` AUROC ${number(value, 2)} (${number(low, 2)} to ${number(high, 2)})`));
  return part("Response", `fires in ${share(cluster.chosen)} of chosen, ${share(cluster.rejected)} of rejected · ${cluster.id}`,
    termList(cluster.terms),
    el("ul", { class: "snippets" }, cluster.snippets.map(([text, start, end]) => el("li", null, marked(text, [[start, end]])))),
    near.length ? [el("p", { class: "small quiet tight" }, "Detects these library concepts:"), el("ul", { class: "near" }, near)] : null,
    cluster.imported.length ? [el("p", { class: "small quiet tight" }, "Imported labels:"), el("ul", { class: "near" }, cluster.imported.slice(0, 5).map((label) => el("li", null, label)))] : null,
    el("details", null, el("summary", null, `${cluster.features.length} features`), el("p", { class: "features" }, cluster.features.join(", "))));
}

/** To the same cluster elsewhere, and to those of the other view that share features. */
function linksPart(h) {
  const jump = (to, text) => el("li", null, el("button", { type: "button", class: "link", onclick: () => visit(to) }, text));
  const links = [];
  const whole = BY_ID.get(`all:${h.response}`);
  if (whole && whole !== h) links.push(jump(whole, `the same responses over everything: ${signed(whole.delta[0])} ${UNIT[whole.view]}`));
  if (!h.where) {
    const inside = strongest(h.what, h.view);
    if (inside) links.push(jump(inside, `where it is strongest: ${cut(inside.where.title, 60)}, ${signed(inside.delta[0])}`));
  }
  for (const { other, both, share: overlap } of [...related(h.what), ...(h.where ? related(h.where) : [])]) {
    const name = `${cut(other.title, 60)}: ${both} shared features (${share(overlap, 0)})`;
    const to = strongest(other, other.view) || BY_ID.get(`all:${other.id}`);
    if (to) links.push(jump(to, `${other.view} view: ${name}`));
    const over = BY_ID.get(`all:${other.id}`);
    if (over && over !== to && !h.where) links.push(jump(over, `over everything: ${name}`));
  }
  return links.length ? part("Look it up elsewhere", "", el("ul", { class: "links" }, links)) : null;
}

/** Another hypothesis, in the tab that has it, with nothing filtered out. */
function visit(h) {
  go({ ...PLAIN, spec: state.spec, rank: state.rank, view: h.tab, h: h.id, all: !h.passes });
  const title = byKey("card-title");
  title.focus();
  say(`Selected ${h.what.title}`);
}

function examplesPart(h) {
  if (!h.examples.length) return null;
  return el("section", { class: "part examples" }, el("h4", null, "Pairs that show it"), h.examples.map(([at, value, chosen, rejected]) => {
    const [id, prompt, yes, no] = DATA.pairs[at];
    return el("article", { class: "sample" }, el("p", { class: "asked" }, prompt),
      el("div", { class: "answers" }, answer("chosen", yes, chosen), answer("rejected", no, rejected)),
      el("p", { class: "small quiet tight" }, `row ${id.slice(0, 12)}, value ${signed(value)}`));
  }));
}

function answer(side, text, marks) {
  return el("div", null, el("h5", { class: side }, side), el("p", { class: "text", tabindex: "0" }, text ? marked(text, marks) : el("em", null, "empty")));
}
