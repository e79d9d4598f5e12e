const byKey = (id) => document.getElementById(id);

/** Attributes, properties (`onclick`) and children of an element; null, undefined and false are left out. */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const NONE = "–";
function number(value, digits = 3) {
  if (value === null || value === undefined) return NONE;
  if (value !== 0 && Math.abs(value) < 10 ** -digits / 2) return value.toPrecision(2);
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}
const signed = (value, digits = 3) => (value > 0 && Number(value.toFixed(digits)) !== 0 ? "+" : "") + number(value, digits);
const share = (value, digits = 1) => (value === null || value === undefined ? NONE : number(100 * value, digits) + "%");
const count = (value) => value.toLocaleString("en");
const chance = (value) => (value < 0.001 ? (value < 1e-99 ? "<1e−99" : value.toExponential(0).replace("-", "−")) : number(value));
const between = (ends, digits = 3) => (ends ? `${signed(ends[1], digits)} to ${signed(ends[2], digits)}` : NONE);
const cut = (text, most) => (text.length <= most ? text : text.slice(0, most - 1) + "…");
const lean = (value) => (value > 0 ? "chosen" : value < 0 ? "rejected" : "neither");

/** A text in pieces, those between [start, end) marked. */
function marked(text, marks) {
  const out = [];
  let at = 0;
  for (const [start, end] of marks) {
    if (start < at || end > text.length) continue;
    out.push(text.slice(at, start), el("mark", null, text.slice(start, end)));
    at = end;
  }
  return [...out, text.slice(at)];
}

function say(text) {
  byKey("live").textContent = text;
}
