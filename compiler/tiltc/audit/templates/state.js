/** Everything that a link to this page can say. Values like these are left out of it. */
const PLAIN = { view: "whole", h: "", rank: "", up: false, lean: "", all: false, clear: false, q: "", context: "", response: "", spec: [] };
let state = { ...PLAIN };
const rankKey = () => state.rank || (DATA.plan ? "left" : state.view === "whole" ? "z" : "min");

function written(from) {
  const out = new URLSearchParams();
  for (const [name, plain] of Object.entries(PLAIN)) {
    if (name === "spec") from.spec.length && out.set("spec", from.spec.map(([key, verb]) => `${verb[0]}.${key}`).join(","));
    else if (from[name] !== plain) out.set(name, from[name] === true ? "1" : from[name]);
  }
  return out.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
}

function read(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const out = { ...PLAIN };
  for (const [name, plain] of Object.entries(PLAIN)) {
    if (!given.has(name)) continue;
    if (name === "spec") out.spec = given.get("spec").split(",").map(choiceOf).filter((c) => c);
    else out[name] = typeof plain === "boolean" ? given.get(name) === "1" : given.get(name);
  }
  if (!["whole", "feature", "prompt"].includes(out.view)) out.view = "whole";
  if (!BY_ID.has(out.h)) out.h = "";
  if (!Object.hasOwn(RANKS, out.rank)) out.rank = "";
  for (const side of ["context", "response"]) if (!CLUSTERS.has(out[side])) out[side] = "";
  return out;
}

function choiceOf(text) {
  const verb = VERBS.find((v) => v[0] === text[0]);
  const key = text.slice(2);
  return verb && Object.hasOwn(DATA.spec.choices, key) ? [key, verb] : null;
}

/** Change the state and the link; `quietly` leaves no step for the back button. */
function go(change, quietly = false) {
  const before = state;
  state = { ...state, ...change };
  const hash = "#" + written(state);
  if (hash !== "#" + written(before)) history[quietly ? "replaceState" : "pushState"](null, "", hash);
  draw(before);
}

function restore() {
  const before = state;
  state = read(location.hash);
  draw(before);
}
