const EDGE = 26;

/** Both maps of the tab: contexts and responses, or over the whole data set the responses of both views. */
function drawMaps() {
  const whole = state.view === "whole";
  const of = (list, view) => list.filter((cluster) => cluster.view === view);
  const left = whole ? of(RESPONSES, "feature") : of(CONTEXTS, state.view);
  const right = of(RESPONSES, whole ? "prompt" : state.view);
  const names = whole
    ? ["Responses: features that fire together", "Responses: features that shift together"]
    : [state.view === "feature" ? "Contexts: what the pair is about" : "Contexts: what the prompt is about", "Responses"];
  drawMap(byKey("map-left"), left, names[0], whole ? "response" : "context");
  drawMap(byKey("map-right"), right, names[1], "response");
}

const sized = (cluster) => (cluster.rows === undefined ? cluster.features.length : cluster.rows);
const measure = (cluster) => (cluster.rows === undefined ? `${cluster.features.length} features` : `${count(cluster.rows)} rows`);

function drawMap(host, clusters, name, side) {
  const other = side === "context" ? state.response : state.view === "whole" ? "" : state.context;
  // one unit is one pixel, so that names keep their size on a phone
  const width = Math.max(280, Math.min(720, host.clientWidth || 640));
  const height = Math.max(230, Math.round(width * 0.52));
  const biggest = clusters.reduce((size, cluster) => Math.max(size, sized(cluster)), 1);
  const scale = Math.max(0.45, Math.min(1, Math.sqrt(90 / clusters.length))) * (width < 500 ? 0.8 : 1);
  const dots = clusters.map((cluster) => {
    const h = strongest(cluster, state.view, other);
    return { cluster, h, x: EDGE + cluster.x * (width - 2 * EDGE), y: EDGE + (1 - cluster.y) * (height - 2 * EDGE),
      r: 2.5 + 13 * Math.sqrt(sized(cluster) / biggest) * scale };
  }).sort((a, b) => b.r - a.r);
  const plot = svg("svg", { class: "map", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${name}: a map of ${clusters.length}; arrow keys move, Enter selects` },
    dots.map((dot) => mapDot(dot, side)), svg("g", { class: "map-names", "aria-hidden": "true" }));
  plot.addEventListener("keydown", (event) => walk(event, dots));
  host.replaceChildren(el("figcaption", null, name, " ", el("span", { class: "quiet" }, mapNote(clusters.length, side, other))), plot, mapTable(dots, name, side));
  if (dots[0]) dots[0].node.setAttribute("tabindex", "0");
  host.dots = dots;
  host.size = [width, height];
  host.side = side;
  markMap(host);
}

function mapNote(n, side, other) {
  const by = other ? `colour: with “${cut(CLUSTERS.get(other).title, 30)}”` : "colour: strongest hypothesis";
  return `${count(n)}, size: ${side === "context" ? "rows" : "features"}, ${by}`;
}

function told(dot) {
  const h = dot.h;
  const most = h ? `${signed(h.delta[0])} ${UNIT[h.view]}, leans to ${lean(h.delta[0])}, q ${chance(h.q)}` : "nothing reported";
  return `${dot.cluster.title}. ${measure(dot.cluster)}. ${h && h.where ? "Strongest: " : ""}${most}`;
}

function mapDot(dot, side) {
  const h = dot.h;
  const tone = h ? lean(h.delta[0]) : "nothing";
  const pick = () => pickCluster(dot.cluster, side);
  dot.node = svg("circle", { class: `dot ${tone}${h && h.q < 0.05 ? "" : " faint"}`, cx: dot.x.toFixed(1), cy: dot.y.toFixed(1), r: dot.r.toFixed(1), tabindex: "-1",
    role: "button", "aria-label": told(dot), "data-id": dot.cluster.id,
    onclick: pick, onmouseenter: (event) => tip(event.target, dot), onmouseleave: untip, onfocus: (event) => tip(event.target, dot), onblur: untip,
    onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } } });
  return dot.node;
}

/** A click on a cluster keeps its hypotheses alone in the table, and selects the strongest; another click ends that. */
function pickCluster(cluster, side) {
  if (state[side] === cluster.id) return go({ [side]: "" });
  const other = side === "context" ? state.response : state.view === "whole" ? "" : state.context;
  const h = strongest(cluster, state.view, other) || strongest(cluster, state.view);
  const apart = h && other && h.context !== other && h.response !== other;
  const change = { [side]: cluster.id, h: h ? h.id : state.h };
  if (apart) change[side === "context" ? "response" : "context"] = "";
  return go(change);
}

/** Rings around what is selected, and names where there is room for them. */
function markMap(host) {
  const h = BY_ID.get(state.h);
  const chosen = h && h.tab === state.view ? [h.context, h.response] : [];
  for (const dot of host.dots) {
    dot.node.classList.toggle("selected", chosen.includes(dot.cluster.id));
    dot.node.setAttribute("aria-pressed", String(state[host.side] === dot.cluster.id));
  }
  nameDots(host.querySelector(".map-names"), host.dots, chosen, host.size);
}

function nameDots(layer, dots, chosen, [width, height]) {
  const room = width < 500 ? 6 : 12;
  const taken = [];
  layer.replaceChildren();
  const ink = document.createElement("canvas").getContext("2d");
  const first = [...dots].sort((a, b) => chosen.includes(b.cluster.id) - chosen.includes(a.cluster.id) || weight(b) - weight(a));
  for (const dot of first.slice(0, 120)) {
    const own = chosen.includes(dot.cluster.id);
    if (taken.length >= room && !own) break;
    const text = cut(dot.cluster.title, 30);
    ink.font = `${own ? "700 12.5px" : "11.5px"} ${getComputedStyle(layer).fontFamily}`;
    const places = boxes(dot, ink.measureText(text).width + 8, width, height).filter((b) => free(b, dot, taken, dots, own));
    const box = places.find((b) => !dots.some((d) => d !== dot && covers(b, d))) || places[0];
    if (!box) continue;
    taken.push(box);
    layer.append(svg("text", { x: (box[0] + box[2]) / 2, y: box[3] - 3, "text-anchor": "middle", class: own ? "selected" : null }, text));
  }
}

/** Where a name may stand: above its dot, below it, or beside it; [left, top, right, bottom], within the map. */
function boxes(dot, wide, width, height) {
  const middle = Math.max(0, Math.min(width - wide, dot.x - wide / 2));
  const places = [[middle, dot.y - dot.r - 16], [middle, dot.y + dot.r + 2], [dot.x + dot.r + 2, dot.y - 7], [dot.x - dot.r - 2 - wide, dot.y - 7]];
  return places.map(([left, top]) => [left, top, left + wide, top + 14]).filter((b) => b[0] >= 0 && b[1] >= 0 && b[2] <= width && b[3] <= height);
}

const covers = (box, d) => Math.hypot(d.x - Math.max(box[0], Math.min(box[2], d.x)), d.y - Math.max(box[1], Math.min(box[3], d.y))) < d.r;

/** No name lies on another; and none but that of what is selected, which is always said, on the middle of two dots. */
function free(box, dot, taken, dots, own) {
  const over = (b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3];
  const under = dots.filter((d) => d !== dot && d.x > box[0] && d.x < box[2] && d.y > box[1] && d.y < box[3]);
  return !taken.some(over) && (own || under.length <= 1);
}
const weight = (dot) => (dot.h ? Math.abs(dot.h.z) * (dot.h.q < 0.05 ? 2 : 1) : 0);

function walk(event, dots) {
  const at = dots.find((dot) => dot.node === document.activeElement);
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step || !at) return;
  event.preventDefault();
  let best = null;
  for (const dot of dots) {
    const [dx, dy] = [dot.x - at.x, dot.y - at.y];
    const along = dx * step[0] + dy * step[1];
    const cost = along + 2.5 * Math.abs(dx * step[1] + dy * step[0]);
    if (along > 0.5 && (!best || cost < best.cost)) best = { cost, dot };
  }
  if (!best) return;
  at.node.setAttribute("tabindex", "-1");
  best.dot.node.setAttribute("tabindex", "0");
  best.dot.node.focus();
}

function tip(node, dot) {
  const box = node.getBoundingClientRect();
  const tag = byKey("tip");
  const h = dot.h;
  tag.replaceChildren(el("strong", null, cut(dot.cluster.title, 90)), el("span", null, measure(dot.cluster)),
    h ? el("span", { class: lean(h.delta[0]) }, `${signed(h.delta[0])} (${between(h.delta)}), q ${chance(h.q)}`) : el("span", null, "nothing reported"),
    h && h.where ? el("span", { class: "quiet" }, cut(dot.cluster === h.what ? `where ${h.where.title}` : h.what.title, 80)) : null);
  tag.hidden = false;
  const wide = tag.offsetWidth;
  tag.style.left = `${Math.max(8, Math.min(document.documentElement.clientWidth - wide - 8, box.left + box.width / 2 - wide / 2)) + scrollX}px`;
  tag.style.top = `${box.top - tag.offsetHeight - 8 > 0 ? box.top - tag.offsetHeight - 8 + scrollY : box.bottom + 8 + scrollY}px`;
}
function untip() {
  byKey("tip").hidden = true;
}

/** The same as a table, made when it is opened. */
function mapTable(dots, name, side) {
  const body = el("tbody");
  const foot = el("p");
  const list = [...dots].sort((a, b) => weight(b) - weight(a));
  const fillRows = (most) => {
    body.replaceChildren(...list.slice(0, most).map((dot) => el("tr", null,
      el("th", { scope: "row" }, el("button", { type: "button", class: "link", onclick: () => pickCluster(dot.cluster, side) }, cut(dot.cluster.title, 80))),
      el("td", { class: "n" }, count(sized(dot.cluster))),
      el("td", { class: "n" }, dot.h ? signed(dot.h.delta[0]) : NONE), el("td", { class: "n" }, dot.h ? chance(dot.h.q) : NONE))));
    moreButton(foot, list.length, most, () => fillRows(most + 100));
  };
  const head = el("tr", null, ["Cluster", side === "context" ? "Rows" : "Features", "Strongest delta", "q"].map((text, i) => el("th", { scope: "col", class: i ? "n" : null }, text)));
  const details = el("details", null, el("summary", null, "As a table"),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, el("table", null, el("caption", { class: "hidden" }, name), el("thead", null, head), body)), foot);
  details.addEventListener("toggle", () => { if (details.open && !body.children.length) fillRows(100); });
  return details;
}
