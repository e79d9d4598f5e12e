/** A table of the data as a list of objects. */
const listed = (table) => table.rows.map((row) => Object.fromEntries(table.columns.map((name, i) => [name, row[i]])));
const DATA = JSON.parse(byKey("audit-data").textContent);
const CONCEPTS = listed(DATA.concepts);
const RESPONSES = listed(DATA.responses);
const CONTEXTS = listed(DATA.contexts);
const HYPOTHESES = listed(DATA.hypotheses);
const CLUSTERS = new Map([...RESPONSES, ...CONTEXTS].map((cluster) => [cluster.id, cluster]));
const BY_ID = new Map(HYPOTHESES.map((h) => [h.id, h]));
const UNIT = { feature: "of its features", prompt: "sd" };

const words = (cluster) => (cluster ? [cluster.title, cluster.id, ...cluster.terms, ...cluster.imported].join(" ") : "");
for (const h of HYPOTHESES) {
  h.where = h.context ? CLUSTERS.get(h.context) : null;
  h.what = CLUSTERS.get(h.response);
  h.tab = h.context ? h.view : "whole";
  h.words = `${h.id} ${words(h.where)} ${words(h.what)}`.toLowerCase();
}

/** The largest end of an interval among hypotheses of a tab and view: glyphs of a column share their axis. */
const reach = (list) => list.reduce((most, h) => Math.max(most, Math.abs(h.delta[1]), Math.abs(h.delta[2])), 0) || 1;
const REACH = {};
for (const tab of ["whole", "feature", "prompt"])
  for (const view of ["feature", "prompt"])
    REACH[tab + view] = reach(HYPOTHESES.filter((h) => h.tab === tab && h.view === view));
const CONCEPT_REACH = reach(CONCEPTS);

/** Rank keys: what is compared, largest first; q the other way round. */
const RANKS = {
  min: { name: "least half", title: "the smaller |delta| of the two halves of the data", of: (h) => h.min, show: (h) => number(h.min) },
  delta: { name: "|delta|", title: "size of the difference", of: (h) => Math.abs(h.delta[0]), show: null },
  d: { name: "|d|", title: "difference in standard deviations", of: (h) => Math.abs(h.d), show: (h) => signed(h.d, 2) },
  z: { name: "|z|", title: "Welch's z", of: (h) => Math.abs(h.z), show: (h) => signed(h.z, 1) },
  q: { name: "q", title: "Benjamini–Hochberg over all tests", of: (h) => -h.q, show: null },
};
if (DATA.plan)
  RANKS.left = { name: "|with plan|", title: "size of what remains under the plan", of: (h) => Math.abs(h.planned), show: null };

/** Clusters of the other view, and their hypotheses over everything, that share most features with this one. */
function related(cluster) {
  const own = new Set(cluster.features);
  const kind = cluster.prompts ? CONTEXTS : RESPONSES;
  return kind
    .filter((other) => other.view !== cluster.view && other.features.length)
    .map((other) => {
      const both = other.features.reduce((n, feature) => n + own.has(feature), 0);
      return { other, both, share: both / (own.size + other.features.length - both) };
    })
    .filter((link) => link.both > 0)
    .sort((a, b) => b.share - a.share || (a.other.id < b.other.id ? -1 : 1))
    .slice(0, 3);
}

/** The strongest hypothesis of a tab that names a cluster, among those that name `other` too if it is given. */
function strongest(cluster, tab, other) {
  let best = null;
  for (const h of HYPOTHESES)
    if (h.tab === tab && (h.context === cluster.id || h.response === cluster.id) &&
        (!other || h.context === other || h.response === other) &&
        (!best || h.passes > best.passes || (h.passes === best.passes && Math.abs(h.z) > Math.abs(best.z)))) best = h;
  return best;
}
