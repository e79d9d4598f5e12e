/** The drawer in which the spec grows. */
function drawSpec() {
  const chosen = state.spec.length;
  byKey("spec-count").textContent = chosen ? String(chosen) : "";
  byKey("spec-text").textContent = chosen ? assemble(state.spec) : "";
  byKey("spec-filled").hidden = !chosen;
  byKey("spec-empty").hidden = !!chosen;
  byKey("spec-list").replaceChildren(...state.spec.map(([key, verb]) => {
    const [name, gate] = DATA.spec.choices[key];
    const label = `${verb} ${name}${gate ? ` when ${gate}` : ""}`;
    return el("li", null, el("span", { class: `tag ${verb}` }, verb), ` ${name}`, gate ? el("span", { class: "quiet" }, ` when ${gate}`) : null,
      el("button", { type: "button", class: "drop", "aria-label": `remove ${label}`, onclick: () => dropChoice(key) }, "×"));
  }));
  refreshVerbs();
}

function dropChoice(key) {
  go({ spec: state.spec.filter(([other]) => other !== key) });
  (byKey("spec-list").querySelector("button") || byKey("spec-close")).focus();
}

function showSpec(open) {
  byKey("spec").hidden = !open;
  byKey("spec-open").setAttribute("aria-expanded", String(open));
  (open ? byKey("spec-title") : byKey("spec-open")).focus();
}

async function copySpec() {
  const text = byKey("spec-text").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(byKey("spec-text"));
    document.execCommand("copy");
  }
  say("Copied");
  flash(byKey("spec-copy"), "Copied");
}

function flash(button, text) {
  const before = button.dataset.text || button.textContent;
  button.dataset.text = before;
  button.textContent = text;
  setTimeout(() => { button.textContent = before; }, 1500);
}

function saveSpec() {
  const address = URL.createObjectURL(new Blob([byKey("spec-text").textContent], { type: "application/yaml" }));
  const link = el("a", { href: address, download: "spec.yaml" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function watchSpec() {
  byKey("spec-open").addEventListener("click", () => showSpec(byKey("spec").hidden));
  byKey("spec-close").addEventListener("click", () => showSpec(false));
  byKey("spec-copy").addEventListener("click", copySpec);
  byKey("spec-save").addEventListener("click", saveSpec);
  byKey("spec-clear").addEventListener("click", () => { go({ spec: [] }); byKey("spec-title").focus(); });
  byKey("spec").addEventListener("keydown", (event) => { if (event.key === "Escape") showSpec(false); });
}
