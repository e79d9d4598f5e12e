const VERBS = ["suppress", "keep", "amplify"];

/** The spec for a list of [key, verb]: the same text that tiltc writes. */
function assemble(choices) {
  const signals = new Map();
  for (const [key, verb] of choices) {
    const [name, gate, comments] = DATA.spec.choices[key];
    const at = JSON.stringify([name, gate]);
    const before = signals.get(at);
    signals.set(at, { name, gate, verb, comments: [...(before ? before.comments : []), ...comments] });
  }
  const named = new Set([...signals.values()].flatMap((s) => [s.name, s.gate]).filter((n) => n !== null && Object.hasOwn(DATA.spec.entries, n)));
  const concepts = [...named].map((name) => DATA.spec.entries[name]).join("");
  const written = [...signals.values()].map((s) =>
    s.comments.map((line) => `  # ${line}\n`).join("") + `  - ${s.verb}: ${s.name}\n` + (s.gate ? `    when: ${s.gate}\n` : "")
  ).join("");
  return DATA.spec.head + (concepts ? `concepts:\n${concepts}` : "") + `signals:\n${written}`;
}

/** The verb that is chosen for a key, or for another one that writes the same signal. */
function verbOf(key) {
  const [name, gate] = DATA.spec.choices[key];
  let verb = null;
  for (const [other, said] of state.spec) {
    const [n, g] = DATA.spec.choices[other];
    if (n === name && g === gate) verb = said;
  }
  return verb;
}

function choose(key, verb) {
  const [name, gate] = DATA.spec.choices[key];
  const off = verbOf(key) === verb;
  const same = ([other]) => DATA.spec.choices[other][0] === name && DATA.spec.choices[other][1] === gate;
  const kept = off ? state.spec.filter((c) => !same(c)) : state.spec.map((c) => (same(c) ? [c[0], verb] : c));
  if (!off && !kept.some(([other]) => other === key)) kept.push([key, verb]);
  go({ spec: kept });
  say(off ? `${name} left out of the spec` : `${verb} ${name}${gate ? ` when ${gate}` : ""} added to the spec`);
}

function verbButtons(key) {
  const chosen = verbOf(key);
  return el("span", { class: "verbs", role: "group", "aria-label": "In the spec" }, VERBS.map((verb) =>
    el("button", { type: "button", class: verb, "data-choice": key, "data-verb": verb, "aria-pressed": String(verb === chosen),
      onclick: (event) => { event.stopPropagation(); choose(key, verb); } }, verb)));
}

function refreshVerbs() {
  for (const button of document.querySelectorAll("[data-choice]"))
    button.setAttribute("aria-pressed", String(verbOf(button.dataset.choice) === button.dataset.verb));
  for (const tag of document.querySelectorAll("[data-chosen]")) tag.textContent = verbOf(tag.dataset.chosen) || "";
}
