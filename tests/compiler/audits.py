"""A fabricated audit of any size, the same each time, that looks like one of a real preference data set."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from hashlib import sha256

from tiltc.audit.model import (
    Audit,
    ConceptEffect,
    Context,
    Example,
    Hypothesis,
    Label,
    Nearest,
    Noise,
    Pair,
    ResponseCluster,
    Settings,
    Snippet,
    Test,
    View,
)
from tiltc.plan import DataPin, Interval, ModelPin, SaePin

#: strings that have broken pages before
NASTY = (
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "<!--<script>",
    "right\u202eto left\u2069",
    "bell\x07escape\x1b[31mred\x00nul",
    "line\u2028separator\u2029end",
    "{{ 7 * 7 }} ${HOME} `tick` 'single' \\ back: #hash",
    "naïve 😀 日本語 " + "long" * 40,
)
TOPICS = (
    "cooking recipe oven", "python function error", "grief funeral condolence", "taxes deduction income", "poem rhyme verse",
    "chess opening gambit", "algebra equation solve", "resume cover letter", "medication dose doctor", "hotel flight itinerary",
    "dragon wizard quest", "sql query join", "dating profile message", "climate emissions policy", "guitar chord practice",
    "lawsuit contract clause", "puppy training leash", "election senate vote", "sleep anxiety stress", "lock picking door",
)  # fmt: skip
BEHAVIOURS = (
    "bold headings", "numbered steps", "apology sorry", "certainly happy help", "hedging might perhaps", "emoji smiling",
    "code block indent", "short blunt answer", "moral warning responsibly", "question back follow-up", "quoted sources study",
    "you understand feel", "summary overall conclusion", "refusal cannot assist", "exclamation great", "table columns rows",
    "storytelling once upon", "disclaimer professional advice", "praise excellent question", "first person as an AI",
)  # fmt: skip
CONCEPTS = (
    "style.bold", "style.list", "style.heading", "style.emoji", "style.length", "style.em-dash", "tone.cheerful",
    "tone.formal", "stance.flattery", "stance.hedging", "stance.apology", "safety.refusal", "safety.warning",
    "style.question", "style.code", "style.exclamation", "tone.playful", "style.italic", "style.quote", "stance.agreement",
)  # fmt: skip
FILLER = (
    "Preheat the oven to 220 degrees and let the dough rest under a damp cloth for an hour.",
    "**Here is how it works.** First, open the settings; second, choose the account you want to change.",
    "I'm sorry to hear that. Grief has no timetable, and it is fine to feel nothing for a while.",
    "The function returns early because the list is empty, so the loop below it never runs.",
    "Great question! There are several things to consider before you decide 😀",
    "It might, perhaps, be worth talking to somebody who knows the local rules.",
)


@dataclass
class Made:
    """An audit in the making."""

    chance: random.Random
    plan: bool
    nasty: bool
    responses: list[ResponseCluster] = field(default_factory=list[ResponseCluster])
    contexts: list[Context] = field(default_factory=list[Context])
    pairs: list[Pair] = field(default_factory=list[Pair])


def fabricated_audit(
    *, hypotheses: int = 40, responses: int = 24, contexts: int = 16, pairs: int = 20, characters: int = 400,
    features: int = 30, concepts: int = len(CONCEPTS), plan: bool = False, nasty: bool = True, seed: int = 0,
) -> Audit:  # fmt: skip
    """`hypotheses` of each view, and as many of the whole data set; clusters and contexts of each view likewise."""
    made = Made(random.Random(seed), plan, nasty)
    for view, kind in (("feature", "g"), ("prompt", "d")):
        made.responses += [_response(made, view, kind, i, features) for i in range(responses)]  # type: ignore[arg-type]
    for view, kind in (("feature", "k"), ("prompt", "p")):
        made.contexts += [_context(made, view, kind, i) for i in range(contexts)]  # type: ignore[arg-type]
    made.pairs += [_pair(made, i, characters) for i in range(pairs)]
    told = [_hypothesis(made, r.view, None, r) for r in made.responses[: 2 * min(responses, hypotheses)]]
    told = sorted(told, key=_strength)
    for view in ("feature", "prompt"):
        told += sorted(_of_view(made, view, hypotheses), key=_strength)
    effects = sorted((_concept(made, i) for i in range(concepts)), key=lambda c: -abs(c.effect.value))
    return Audit(
        compiler="0.1.0", evidence=_hex("evidence", 64),
        request={"model": "builtin:smollm2-135m-instruct", "sae": "builtin:smollm2-135m-instruct-l15",
                 "data": "local:support prefs.parquet", "rows": None, "max_length": 1024},
        model=ModelPin(name="builtin:smollm2-135m-instruct", digest=_hex("model", 64), layers=30, width=576),
        sae=SaePin(name="builtin:smollm2-135m-instruct-l15", digest=_hex("sae", 64), hook="layers.15", width=576, features=12_288),
        data=DataPin(name="support prefs.parquet", digest=_hex("data", 64), rows=15_012, file_sha256=_hex("file", 64)),
        plan=_hex("plan", 64) if plan else None, settings=_settings(contexts, responses), concepts=tuple(effects),
        responses=tuple(made.responses), contexts=tuple(made.contexts), hypotheses=tuple(told), pairs=tuple(made.pairs),
        noise=_noise(contexts, responses),
        cautions=("18.2% of pairs have a response cut at 1024 tokens: what stands behind the cut was not read.",
                  *([NASTY[4]] if nasty else [])),
    )  # fmt: skip


def _of_view(made: Made, view: View, count: int) -> list[Hypothesis]:
    contexts = [c for c in made.contexts if c.view == view]
    responses = [r for r in made.responses if r.view == view]
    both = [(c, r) for c in contexts for r in responses]
    return [_hypothesis(made, view, c, r) for c, r in made.chance.sample(both, min(count, len(both)))]


def _strength(h: Hypothesis) -> tuple[bool, float]:
    return (not h.passes, -h.test.delta_min)


def _hex(text: str, length: int = 12) -> str:
    return sha256(text.encode()).hexdigest()[:length]


def _brief(value: float) -> float:
    return float(f"{value:.6g}")


def _interval(value: float, half: float) -> Interval:
    return Interval(value=_brief(value), low=_brief(value - half), high=_brief(value + half))


def _label(made: Made, words: str, i: int) -> Label:
    terms = (*words.split(), *(f"{words.split()[0]}{end}" for end in ("s", "ing", " time")))
    text = made.chance.choice(FILLER)
    odd = made.nasty and i % 3 == 1
    title = NASTY[i // 3 % len(NASTY)] if odd else " · ".join(words.split())
    start = made.chance.randrange(0, 20)
    snippets = tuple(Snippet(text=text[k:], start=start, end=start + 9) for k in range(3))
    area = _interval(0.5 + 0.45 * made.chance.random(), 0.02)
    near = Nearest(concept="std." + CONCEPTS[i % len(CONCEPTS)], auroc=area)
    return Label(title=title, source="terms", terms=terms, snippets=snippets, nearest=(near,),
                 imported=(NASTY[0],) if odd else ())  # fmt: skip


def _response(made: Made, view: View, kind: str, i: int, features: int) -> ResponseCluster:
    words = BEHAVIOURS[i % len(BEHAVIOURS)] + ("" if i < len(BEHAVIOURS) else f" {i // len(BEHAVIOURS) + 1}")
    share = made.chance.random() ** 2
    shift = made.chance.gauss(0, 0.08)
    return ResponseCluster(
        id=f"{kind}-{_hex(f'{kind}{i}')}", view=view, label=_label(made, words, i), x=_place(made, i), y=_place(made, i + 7),
        features=tuple(sorted(made.chance.sample(range(i * 7, 400 + i * 7), made.chance.randint(features // 3, features)))),
        chosen_share=_brief(min(1, max(0, share + shift))), rejected_share=_brief(share),
    )  # fmt: skip


def _context(made: Made, view: View, kind: str, i: int) -> Context:
    words = TOPICS[i % len(TOPICS)] + ("" if i < len(TOPICS) else f" {i // len(TOPICS) + 1}")
    return Context(
        id=f"{kind}-{_hex(f'{kind}{i}')}", view=view, rows=int(60 + 900 * made.chance.random() ** 3),
        features=tuple(range(i, i + 30)) if kind == "p" else (), label=_label(made, words, i + (kind == "p")),
        x=_place(made, 2 * i), y=_place(made, 3 * i + 1), prompts=tuple(f"How do I {words}? ({k})" for k in range(5)),
    )  # fmt: skip


def _place(made: Made, i: int) -> float:
    """Somewhere in one of a few lumps."""
    return _brief(min(1, max(0, 0.15 + 0.7 * (i % 5) / 4 + made.chance.gauss(0, 0.07))))


def _pair(made: Made, i: int, characters: int) -> Pair:
    def text(odd: str) -> str:
        start = odd if made.nasty and i % 2 else ""
        while len(start) < characters:
            start += made.chance.choice(FILLER) + ("\n\n" if made.chance.random() < 0.2 else " ")
        return start[:characters]

    odd = NASTY[i % len(NASTY)]
    topic = TOPICS[i % len(TOPICS)]
    prompt = f"{odd} {topic}" if made.nasty and i % 2 else f"Can you help me with {topic}?"
    return Pair(row_id=_hex(f"row{i}", 16), prompt=prompt, chosen=text(odd), rejected=text(odd[::-1]))


def _test(made: Made, view: View, strength: float) -> Test:
    unit = 0.05 if view == "feature" else 0.4
    delta = unit * strength
    half = unit * (0.25 + 0.3 * made.chance.random())
    z = 1.96 * delta / half
    p = math.erfc(abs(z) / math.sqrt(2))
    other = delta * (0.5 + 0.6 * made.chance.random())
    return Test(
        delta=_interval(delta, half), delta_length=_interval(other, 1.1 * half) if made.chance.random() < 0.95 else None,
        delta_difference=_brief(0.8 * delta), d=_brief(delta / unit / 2), z=_brief(z), p=_brief(p), q=_brief(min(1.0, 6 * p)),
        delta_min=_brief(max(0.0, abs(delta) - half * made.chance.random())), agrees=made.chance.random() < 0.9,
        noise=_brief(0.6 * unit), planned=_brief(delta * made.chance.gauss(0.15, 0.15)) if made.plan else None,
    )  # fmt: skip


def _hypothesis(made: Made, view: View, context: Context | None, response: ResponseCluster) -> Hypothesis:
    strength = made.chance.gauss(0, 1.2) + 0.4
    test = _test(made, view, strength)
    inside = test.delta.value * 0.8
    return Hypothesis(
        id=f"{context.id if context else 'all'}:{response.id}", view=view, context=context.id if context else None,
        response=response.id, rows=context.rows if context else 15_000, mean_inside=_brief(inside),
        mean_outside=_brief(inside - test.delta.value), test=test, passes=test.agrees and made.chance.random() < 0.8,
        examples=tuple(_example(made, test.delta.value) for _ in range(min(3, len(made.pairs)))),
    )  # fmt: skip


def _example(made: Made, value: float) -> Example:
    starts = sorted(made.chance.sample(range(0, 180, 20), 3))
    marks = tuple((s, s + 7) for s in starts)
    return Example(
        pair=made.chance.randrange(len(made.pairs)), value=_brief(2 * value), chosen=marks, rejected=marks[:1]
    )


def _concept(made: Made, i: int) -> ConceptEffect:
    value = made.chance.gauss(0, 0.15)
    rate = made.chance.random() ** 2
    p = math.erfc(abs(value) / 0.03)
    name = CONCEPTS[i % len(CONCEPTS)]
    return ConceptEffect(
        name=f"std.{name}" if i < len(CONCEPTS) else f"own.{name}-{i}", about=f"Text that shows {name.split('.')[-1]}.",
        effect=_interval(value, 0.03), effect_length=_interval(0.7 * value, 0.03), p=_brief(p), q=_brief(min(1.0, 2 * p)),
        agrees=True, noise=0.02, chosen_rate=None if name == "style.length" else _brief(min(1, max(0, rate + 0.3 * value))),
        rejected_rate=None if name == "style.length" else _brief(rate), planned=_brief(0.1 * value) if made.plan else None,
    )  # fmt: skip


def _settings(contexts: int, responses: int) -> Settings:
    return Settings(
        rows=15_012, usable=15_000, active=14_250, prompts=14_100, tau=0.01, silent=0.05, data_clusters=contexts,
        prompt_clusters=contexts, delta_clusters=responses, n_top=161, fewest_rows=25, fewest_features=10, fires_in=150,
        geometry_rows=15_000, components=128, edges=0.01, resolution=1.0, swaps=200, resamples=1000, seed=0,
    )  # fmt: skip


def _noise(contexts: int, responses: int) -> tuple[Noise, ...]:
    views: tuple[View, ...] = ("feature", "prompt")
    return tuple(
        Noise(view=view, whole=whole, tests=responses * (1 if whole else contexts), largest_z_median=3.1, largest_z_95=4.4,
              largest_delta_95=0.03 if view == "feature" else 0.24, found=14 if whole else 37,
              found_swapped=0.21 if whole else 1.4, swaps_with_any=0.06 if whole else 0.11)
        for view in views for whole in (True, False)
    )  # fmt: skip
