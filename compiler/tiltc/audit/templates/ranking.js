let most = 100;
let ranked = [];

/** The hypotheses of the tab that pass the filters, in order. */
function filtered() {
  const query = state.q.trim().toLowerCase().split(/\s+/).filter((word) => word);
  const of = RANKS[rankKey()].of;
  const kept = HYPOTHESES.filter((h) => h.tab === state.view && (state.all || h.passes) && (!state.clear || h.q < 0.05) &&
    (!state.lean || lean(h.delta[0]) === state.lean) && (!state.context || h.context === state.context) &&
    (!state.response || h.response === state.response) && query.every((word) => h.words.includes(word)));
  const scored = kept.map((h, i) => [of(h), i, h]).sort((a, b) => b[0] - a[0] || a[1] - b[1]).map((entry) => entry[2]);
  return state.up ? scored.reverse() : scored;
}

function drawRanking(reset) {
  ranked = filtered();
  if (reset) most = 100;
  const at = ranked.findIndex((h) => h.id === state.h);
  if (at >= most) most = Math.ceil((at + 1) / 100) * 100;
  byKey("ranking").replaceChildren(rankingHead(), el("tbody", null, ranked.slice(0, most).map(rankingRow)));
  moreButton(byKey("ranking-more"), ranked.length, Math.min(most, ranked.length), () => { most += 100; drawRanking(false); });
  const total = HYPOTHESES.reduce((n, h) => n + (h.tab === state.view), 0);
  byKey("count").textContent = ranked.length === total ? `${count(total)} hypotheses` : `${count(ranked.length)} of ${count(total)} hypotheses`;
  drawPins();
  markRows();
}

/** The column of the rank key, where it has no column of its own. */
function keyed() {
  const key = rankKey();
  return RANKS[key].show ? [[key]] : DATA.plan ? [] : [["min"]];
}

function rankingHead() {
  const head = (key, name) => sortHead(name || RANKS[key].name, RANKS[key].title, rankKey() === key ? (state.up ? "ascending" : "descending") : "none",
    () => { go({ rank: key, up: rankKey() === key && !state.up }); byKey("ranking").querySelector(`[data-rank=${key}] button`).focus(); });
  const kept = (key, name) => Object.assign(head(key, name), { className: `n k-${key}` });
  const cells = [["delta", DATA.plan ? "Today" : "Delta"], ...(DATA.plan ? [["left", "With the plan"]] : []), ...keyed(), ["q"]]
    .map(([key, name]) => { const cell = kept(key, name); cell.dataset.rank = key; return cell; });
  const view = state.view === "whole" ? null : state.view;
  return el("thead", null, el("tr", null, el("th", { scope: "col" }, "Hypothesis"),
    el("th", { scope: "col", class: "figure" }, el("span", { class: "hidden" }, "Figure"), view ? glyphAxis(REACH[view + view]) : null), cells));
}

const remains = (h) => (h.delta[0] ? `${share(h.planned / h.delta[0], 0)} remains` : "");

function rankingRow(h) {
  return el("tr", { class: `${lean(h.delta[0])}${h.q < 0.05 ? "" : " unclear"}`, "data-id": h.id, tabindex: "-1", "aria-selected": "false" },
    el("th", { scope: "row" }, el("span", { class: "name" }, cut(h.what.title, 90)), el("span", { class: "chosen-verb", "data-chosen": h.id }, verbOf(h.id) || ""),
      el("span", { class: "sub" }, h.where ? ["where ", cut(h.where.title, 90), ` (${count(h.rows)}\u00a0rows)`] : `${h.view === "feature" ? "share of features" : "shift in sd"} · ${h.what.features.length} features`)),
    el("td", { class: "figure" }, intervalGlyph(h, REACH[h.tab + h.view])),
    el("td", { class: "n k-delta" }, el("span", { class: DATA.plan ? null : "amount" }, signed(h.delta[0])), el("span", { class: "ci" }, between(h.delta))),
    DATA.plan ? el("td", { class: "n k-left" }, h.planned === null ? NONE : [el("span", { class: `amount ${lean(h.planned)}` }, signed(h.planned)), el("span", { class: "ci" }, remains(h))]) : null,
    keyed().map(([key]) => el("td", { class: "n k-key" }, RANKS[key].show(h))), el("td", { class: "n k-q" }, chance(h.q)));
}

/** What the maps narrowed the table to. */
function drawPins() {
  byKey("pins").replaceChildren(...["context", "response"].filter((side) => state[side]).map((side) =>
    el("button", { type: "button", class: "pin", onclick: () => go({ [side]: "" }) }, `${side}: ${cut(CLUSTERS.get(state[side]).title, 40)} `,
      el("span", { "aria-hidden": "true" }, "×"), el("span", { class: "hidden" }, "remove"))));
}

function markRows() {
  const rows = [...byKey("ranking").tBodies[0].rows];
  for (const row of rows) {
    const own = row.dataset.id === state.h;
    row.setAttribute("aria-selected", String(own));
    row.setAttribute("tabindex", own ? "0" : "-1");
  }
  if (rows[0] && !rows.some((row) => row.dataset.id === state.h)) rows[0].setAttribute("tabindex", "0");
}

function watchRanking() {
  const table = byKey("ranking");
  table.addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (!row) return;
    go({ h: row.dataset.id });
    row.focus({ preventScroll: true });
    if (getComputedStyle(byKey("card")).position !== "sticky") byKey("card").scrollIntoView({ behavior: CALM ? "auto" : "smooth" });
  });
  table.addEventListener("keydown", (event) => {
    const row = event.target.closest("tbody tr");
    if (!row || event.target !== row) return;
    if (event.key === "Enter") byKey("card-title").focus();
    const at = [...table.tBodies[0].rows].indexOf(row);
    if (event.key === "ArrowDown" && at === most - 1 && most < ranked.length) byKey("ranking-more").firstChild.click();
    const next = stepped(event, [...table.tBodies[0].rows], at);
    if (!next) return;
    go({ h: next.dataset.id }, true);
    next.focus();
  });
}
