"""The std concept library: each concept is well formed, fires on what it should and not on its near misses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tiltc.detectors import check_pattern, has_detector, present
from tiltc.spec import Concept
from tiltc.std import FAMILIES, FOLDER, concepts

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIBRARY: dict[str, Concept] = {name: concept for family in FAMILIES for name, concept in concepts(family).items()}
CASES: dict[str, dict[str, list[str]]] = yaml.safe_load((HERE / "std_cases.yaml").read_text("utf-8"))
WITH_DETECTOR = sorted(name for name, concept in LIBRARY.items() if has_detector(concept))
WITH_EXAMPLES = sorted(name for name, concept in LIBRARY.items() if concept.examples)


def test_library_size_and_names() -> None:
    """The library has at least 40 concepts, each named std.<family>.<name> after the file that holds it."""
    assert len(LIBRARY) >= 40
    for family in FAMILIES:
        for name in concepts(family):
            assert re.fullmatch(rf"std\.{family}\.[a-z]+(-[a-z]+)*", name), name


def test_every_yaml_is_a_family() -> None:
    """No file of the library is forgotten by `FAMILIES`, and each has the form of a concept file."""
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(FAMILIES)


def test_parents_exist() -> None:
    """A parent is a concept of the library, and no concept is its own ancestor."""
    for name, concept in LIBRARY.items():
        seen, above = {name}, list(concept.parents)
        while above:
            parent = above.pop()
            assert parent in LIBRARY
            assert parent not in seen, f"{name} is its own ancestor"
            seen.add(parent)
            above.extend(LIBRARY[parent].parents)


def test_topics_read_prompts() -> None:
    """Topic gates look at the prompt, everything else at the response."""
    for name, concept in LIBRARY.items():
        assert concept.reads == ("prompt" if name.startswith("std.topic.") else "response"), name


def test_abouts_are_sentences_of_their_own() -> None:
    """Each `about` is one short sentence, and no two concepts share it."""
    abouts = [concept.about for concept in LIBRARY.values()]
    assert len(set(abouts)) == len(abouts)
    assert all(len(about) <= 120 and about.endswith(".") and about[0].isupper() for about in abouts)


def test_instructions() -> None:
    """Style, stance and tone can be asked for in three ways, each a sentence of its own; topics can't."""
    for name, concept in LIBRARY.items():
        asked = concept.instructions
        assert len(asked) == (0 if name.startswith("std.topic.") or name == "std.safety.self-harm-resources" else 3), (
            name
        )
        assert all(text[0].isupper() and text.rstrip(")")[-1] in ".!" and len(text) <= 140 for text in asked), name
    every = [text for concept in LIBRARY.values() for text in concept.instructions]
    assert len(set(every)) == len(every)


def test_instructions_name_no_cached_result() -> None:
    """What was derived from evidence under a definition is found again when instructions are added or changed."""
    for concept in LIBRARY.values():
        without = concept.model_copy(update={"instructions": (), "about": "Other words.", "parents": ()})
        assert without.meaning == concept.meaning
        assert concept.meaning[concept.kind] is not None


def test_every_detector_has_cases() -> None:
    """Each concept with a detector has at least three texts that show it (two for length) and three near misses."""
    assert sorted(CASES) == WITH_DETECTOR
    for name, cases in CASES.items():
        assert len(cases["shows"]) >= (2 if name == "std.style.length" else 3), name
        assert len(cases["near"]) >= 3, name


@pytest.mark.parametrize(
    ("name", "expected", "text"),
    [
        (name, expected, text)
        for name in WITH_DETECTOR
        for expected, kind in ((True, "shows"), (False, "near"))
        for text in CASES.get(name, {}).get(kind, [])
    ],
)
def test_cases(name: str, expected: bool, text: str) -> None:
    """A detector fires on each text that shows its concept and on none of the near misses."""
    assert present(LIBRARY[name], [text]).tolist() == [expected]


@pytest.mark.parametrize("name", WITH_DETECTOR)
def test_apostrophes_do_not_matter(name: str) -> None:
    """A text with curly apostrophes is judged like the same text with straight ones."""
    texts = [text for kind in ("shows", "near") for text in CASES[name][kind] if "'" in text and "`" not in text]
    curly = [text.replace("'", "’") for text in texts]
    assert present(LIBRARY[name], curly).tolist() == present(LIBRARY[name], texts).tolist()


@pytest.mark.parametrize("name", [name for name in WITH_DETECTOR if LIBRARY[name].pattern])
def test_patterns_do_not_run_away(name: str) -> None:
    """The patterns of the library stay within the time limit on long and repetitive texts."""
    concept = LIBRARY[name]
    assert concept.pattern is not None
    assert check_pattern(concept.pattern) is None
    hostile = [
        "a " * 20_000,
        "\n" * 20_000,
        "I can't " * 3_000,
        "how to make a " * 2_000,
        "you are so " * 3_000,
        "1 " * 9_000,
    ]
    present(concept, hostile)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_example_files(name: str) -> None:
    """A contrast set has 40 rows or more in pairs: one prompt, one response of each label, nothing twice."""
    rows = _rows(name)
    assert len(rows) >= 40
    assert all(set(row) == {"prompt", "response", "label", "pair"} for row in rows)
    assert len({row["response"] for row in rows}) == len(rows)
    assert Counter(row["label"] for row in rows) == {0: len(rows) // 2, 1: len(rows) // 2}
    pairs: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        pairs.setdefault(str(row["pair"]), []).append(row)
    for pair in pairs.values():
        assert sorted(str(row["label"]) for row in pair) == ["0", "1"]
        assert len({row["prompt"] for row in pair}) == 1
    assert len({row["prompt"] for row in rows}) == len(pairs), "prompts differ between pairs"


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_do_not_name_the_concept(name: str) -> None:
    """No row gives its label away by the concept's name."""
    # the first letters, so that "play" and "poem" count as well
    leak = re.compile(rf"(?i)\b{name.rsplit('.', 1)[1][:4]}")
    assert [row for row in _rows(name) if leak.search(f"{row['prompt']} {row['response']}")] == []


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_do_not_differ_in_length_alone(name: str) -> None:
    """The two sides of a contrast set are of similar length, so that length does not stand in for the concept."""
    words = {label: [len(str(r["response"]).split()) for r in _rows(name) if r["label"] == label] for label in (0, 1)}
    means = {label: sum(counts) / len(counts) for label, counts in words.items()}
    assert 0.75 < means[1] / means[0] < 1.34


def test_reference_is_current() -> None:
    """The list of concepts in docs/concepts.md is what the script writes from the library."""
    done = subprocess.run([sys.executable, ROOT / "tools" / "list_std.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _rows(name: str) -> list[dict[str, object]]:
    path = FOLDER / str(LIBRARY[name].examples)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
