/** An interval on the axis -reach..reach: band of chance, 95% interval, value, value at equal length, value with the plan. */
function intervalGlyph(item, most, width = 168, height = 26) {
  const x = (value) => Math.max(1, Math.min(width - 1, width / 2 + (value / most) * (width / 2 - 5)));
  const middle = height / 2;
  const side = lean(item.delta[0]);
  return svg("svg", { class: `glyph ${side}${item.q < 0.05 ? "" : " faint"}`, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("rect", { class: "band", x: x(-item.noise), width: Math.max(0, x(item.noise) - x(-item.noise)), y: 3, height: height - 6, rx: 2 }),
    svg("line", { class: "zero", x1: width / 2, x2: width / 2, y1: 0, y2: height }),
    svg("line", { class: "range", x1: x(item.delta[1]), x2: x(item.delta[2]), y1: middle, y2: middle }),
    item.length ? svg("line", { class: "length", x1: x(item.length[0]), x2: x(item.length[0]), y1: middle - 7, y2: middle + 7 }) : null,
    item.planned !== null && item.planned !== undefined ? [
      svg("line", { class: "moved", x1: x(item.delta[0]), x2: x(item.planned), y1: middle, y2: middle }),
      svg("circle", { class: "today", cx: x(item.delta[0]), cy: middle, r: 4 }),
      svg("path", { class: "planned", d: `M${x(item.planned)} ${middle - 6}l6 6l-6 6l-6 -6z` })]
      : svg("circle", { class: "value", cx: x(item.delta[0]), cy: middle, r: 4.5 }));
}

/** The axis above a column of glyphs. */
function glyphAxis(most, width = 168) {
  const digits = most < 0.1 ? 2 : most < 1 ? 1 : most < 10 ? 1 : 0;
  const end = Number((most * 0.8).toFixed(digits)) || most;
  const x = (value) => width / 2 + (value / most) * (width / 2 - 5);
  return svg("svg", { class: "glyph-axis", viewBox: `0 0 ${width} 14`, "aria-hidden": "true" },
    [-end, 0, end].map((at) => svg("text", { x: x(at), y: 11, "text-anchor": "middle" }, at ? signed(at, digits) : "0")));
}

/** Rates in rejected and in chosen responses, joined. */
function rateGlyph(item, width = 110, height = 26) {
  if (item.chosen === null) return null;
  const x = (value) => 6 + value * (width - 12);
  return svg("svg", { class: "glyph rates", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("line", { class: "zero", x1: 6, x2: width - 6, y1: height / 2, y2: height / 2 }),
    svg("line", { class: "moved", x1: x(item.rejected), x2: x(item.chosen), y1: height / 2, y2: height / 2 }),
    svg("circle", { class: "r", cx: x(item.rejected), cy: height / 2, r: 4 }),
    svg("circle", { class: "c", cx: x(item.chosen), cy: height / 2, r: 4 }));
}

/** A button in a table's head that sorts. */
function sortHead(name, title, order, pressed) {
  return el("th", { scope: "col", class: "n", "aria-sort": order },
    el("button", { type: "button", title, onclick: pressed }, name));
}

/** Rows of a long list: the first `most`, and a button for the next hundred. */
function moreButton(host, total, shown, more) {
  host.replaceChildren();
  if (shown < total) host.append(el("button", { type: "button", class: "more", onclick: more }, `${count(Math.min(100, total - shown))} more of ${count(total)}`));
}

/** Arrow keys between the items of a list: the one that they lead to, or null. */
function stepped(event, items, at) {
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to === undefined || !items[to]) return null;
  event.preventDefault();
  return items[to];
}
