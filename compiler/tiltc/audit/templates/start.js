const CALM = matchMedia("(prefers-reduced-motion: reduce)").matches;
const LISTED = ["view", "rank", "up", "lean", "all", "clear", "q", "context", "response"];
const MAPPED = ["view", "context", "response"];
const TABS = [...document.querySelectorAll("[role=tab]")];

/** Bring what changed since `before` on the page; everything the first time. */
function draw(before) {
  const changed = (names) => !before || names.some((name) => state[name] !== before[name]);
  if (changed(["view"])) drawView();
  drawControls();
  if (!BY_ID.has(state.h) || BY_ID.get(state.h).tab !== state.view) state.h = (filtered()[0] || { id: "" }).id;
  if (changed(LISTED)) drawRanking(changed(["view", "q"]));
  else markRows();
  if (changed(MAPPED)) drawMaps();
  else for (const side of ["left", "right"]) markMap(byKey(`map-${side}`));
  if (changed(["view", "h"])) drawCard();
  if (changed(["spec"])) drawSpec();
}

function drawView() {
  for (const tab of TABS) {
    const own = tab.dataset.view === state.view;
    tab.setAttribute("aria-selected", String(own));
    tab.setAttribute("tabindex", own ? "0" : "-1");
    if (own) tab.parentNode.scrollLeft = tab.offsetLeft - tab.parentNode.offsetLeft - 16;
    if (own) byKey("explore").setAttribute("aria-labelledby", tab.id);
  }
  byKey("overall").hidden = state.view !== "whole";
  for (const note of document.querySelectorAll("[data-for]")) note.hidden = note.dataset.for !== state.view;
}

function drawControls() {
  const query = byKey("query");
  if (query.value.trim() !== state.q.trim()) query.value = state.q;
  byKey("rank").value = rankKey();
  byKey("lean").value = state.lean;
  byKey("passes").checked = !state.all;
  byKey("clear").checked = state.clear;
}

function watchControls() {
  byKey("rank").append(...Object.entries(RANKS).map(([key, rank]) => el("option", { value: key, title: rank.title }, rank.name)));
  byKey("rank").addEventListener("change", (event) => go({ rank: event.target.value, up: false }));
  byKey("lean").addEventListener("change", (event) => go({ lean: event.target.value }));
  byKey("passes").addEventListener("change", (event) => go({ all: !event.target.checked }));
  byKey("clear").addEventListener("change", (event) => go({ clear: event.target.checked }));
  byKey("query").addEventListener("input", (event) => go({ q: event.target.value }, true));
  for (const tab of TABS) {
    tab.addEventListener("click", () => go({ view: tab.dataset.view, h: "", context: "", response: "" }));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length];
      next.click();
      next.focus();
    });
  }
}

watchControls();
watchRanking();
watchSpec();
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawMaps(); } });
addEventListener("popstate", restore);
addEventListener("hashchange", restore);
state = read(location.hash);
if (CONCEPTS.length) drawConcepts();
draw(null);
