"""Detectors: what is counted, what is refused, and at what cost."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiltc.detectors import PatternTimeout, check_pattern, has_detector, present, score
from tiltc.detectors import markup as markup_module
from tiltc.detectors.emphasis import plain_emphasis
from tiltc.spec import Concept


def surface(name: str, least: int = 1) -> Concept:
    return Concept.model_validate({"about": "A surface.", "surface": name, "at_least": least})


def pattern(regex: str) -> Concept:
    return Concept(about="A pattern.", pattern=regex)


def words(*entries: str) -> Concept:
    return Concept(about="A lexicon.", words=entries)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("bold", "**a** and __b__, not `**c**`, # **d", 2),
        ("bold", "# **Title**\n\n1. **a**\n   **b**\n\n> **c**\n\n| **d** |\n|---|\n| **e** |", 6),
        ("italic", "*a* _b_ **_c_** snake_case", 3),
        ("heading", "# a\n## b\n\nc\n===\n\nd\n---\n\n---\n", 4),
        ("list", "- a\n- b\n\ntext\n\n1. c\n2. d", 2),
        ("list", "1. a\n\ntext\n\n2. b\n\ntext\n\n3. c", 1),
        ("list", "1. a\n   - x\n   - y\n2. b\n   - z\n   - w", 3),
        ("list", "1. a\n- x\n1. b\n- y", 2),
        ("list", "1. a\n2. b\n\ntext\n\n3. c\n4. d", 1),
        ("table", "|a|\n|-|\n|1|\n\ntext\n\n|b|\n|-|\n|2|", 2),
        ("code", "`a` ``b`` \n\n```\nc `d`\n```\n", 3),
        ("link", "[a](/b) <https://c.org> [d][e]\n\n[e]: /f", 3),
        ("horizontal-rule", "a\n\n---\n\nb\n\n* * *\n", 2),
        ("quote", "> a\n> b\n\nc\n\n> d", 2),
        ("bare-url", "https://a.org and www.b.org, not [x](https://c.org)", 2),
        ("emoji", "👩‍👩‍👧‍👦 🇫🇷🇮🇹 1️⃣ 👍🏽👍 ❤️ ❤", 8),
        ("em-dash", "a—b — c – d -- e", 2),
        ("exclamation", "Hi! Wow!!! a != b", 4),
        ("question", "Why? How?? https://a.org/?q", 3),
    ],
)
def test_surface_counts(name: str, text: str, count: int) -> None:
    """A surface counts each construct of the rendered text once."""
    assert score(surface(name), [text]).tolist() == [count]


def test_length_is_log_words() -> None:
    """Length is log(1 + words): numbers, contractions and compounds are one word, a Chinese character is one."""
    texts = ["", "a b c", "don't 3,000.50 state-of-the-art", "我爱你", "| --- |"]
    np.testing.assert_allclose(np.expm1(score(surface("length"), texts)), [0, 3, 3, 3, 0], atol=1e-9)
    assert present(surface("length", least=3), texts).tolist() == [False, True, True, True, False]


def test_present_needs_at_least_matches() -> None:
    """A concept is present from `at_least` matches on."""
    texts = ["", "**a**", "**a** **b**", "**a** **b** **c**"]
    assert present(surface("bold", least=2), texts).tolist() == [False, False, True, True]


def test_score_shape_and_type() -> None:
    """Scores are float64, one a text, and an empty list of texts has an empty score."""
    found = score(pattern("a"), ["a", "b", "aa"])
    assert found.dtype == np.float64
    assert found.tolist() == [1, 0, 2]
    assert score(pattern("a"), []).shape == (0,)


@pytest.mark.parametrize("concept", [surface("bold"), surface("length"), pattern("a"), words("a")])
def test_only_strings_are_scored(concept: Concept) -> None:
    """Anything but a string is a TypeError, even where its truth or length would have passed."""
    for wrong in (None, 3, b"a", ["a"]):
        with pytest.raises(TypeError, match="must be a string"):
            score(concept, ["a", wrong])  # type: ignore[list-item]


ODD_TEXTS = [
    "",
    "\ud800",
    "**\udfff** [a](http://\ud800) `\ud800` | \ud800 |\n|--|\n",
    "\x00**a**\x00",
    "\r\n# a\r\n\r\n- b\r\n- c\r\n",
    "\u2028\u0085**a**",
    "[" * 3000,
    "> " * 3000 + "a",
    "- " * 2000 + "a",
    "*" * 4000,
    "**a " * 2000,
    "`" * 3001,
    "| a " * 1000 + "\n" + "|-" * 1000,
    "!" * 5000,
    "?" * 5000,
    "🇫" * 3001,
    "👩‍" * 2000,
    "# " * 3000,
    "1. " * 2000,
]


@pytest.mark.parametrize("name", Concept.model_json_schema()["properties"]["surface"]["anyOf"][0]["enum"])
def test_odd_texts(name: str) -> None:
    """No surface fails or stalls on empty, malformed or deeply nested text."""
    start = time.process_time()
    found = score(surface(name), ODD_TEXTS)
    assert time.process_time() - start < 5
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found[0] == 0


def test_hints_do_not_hide_markup() -> None:
    """The cheap tests before the parse never lose what the parse would have found."""
    pieces = [
        "**b**",
        "_i_",
        "# h",
        "h\n===",
        "- a\n- b",
        "• a\n• b",
        "3) a\n4) b",
        "|a|\n|-|",
        "a|b\n-|-",
        "`c`",
        "~~~\nx\n~~~",
    ]
    pieces += [
        "[l](/)",
        "<http://x.y>",
        "***",
        "_ _ _",
        "> q",
        "WWW.a.org",
        "http://a.org",
        "> # h",
        "- # h",
        "1. # h",
        "- ***",
        "1. - a\n   - b",
    ]
    names = ["bold", "italic", "heading", "list", "table", "code", "link", "horizontal-rule", "quote", "bare-url"]
    texts = [f"Plain.\n\n{piece}\n\nMore." for piece in pieces]
    quick = {name: score(surface(name), texts).tolist() for name in names}
    fields = ["bold", "italic", "heading", "list", "table", "code", "link", "rule", "quote", "bare_url"]
    full = [markup_module._parse(text) for text in texts]
    assert quick == {name: [getattr(m, field) for m in full] for name, field in zip(names, fields, strict=True)}
    assert all(any(quick[name][i] for name in names) for i in range(len(texts)))


def test_one_parse_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several Markdown surfaces of one text cost one parse."""
    parsed: list[str] = []
    original = markup_module._parse
    monkeypatch.setattr(markup_module, "_parse", lambda text: parsed.append(text) or original(text))
    monkeypatch.setattr(markup_module, "_PARSED", {})
    for name in ("bold", "list", "heading", "italic"):
        score(surface(name), ["# a *b* **c**\n\n- d\n- e"])
    assert len(parsed) == 1


def test_parse_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of parses forgets rather than grows past its limit."""
    monkeypatch.setattr(markup_module, "_PARSED", {})
    monkeypatch.setattr(markup_module, "_PARSED_LIMIT", 5)
    score(surface("list"), [f"- {i}\n- b" for i in range(23)])
    assert 0 < len(markup_module._PARSED) <= 5


def test_a_surface_is_fast() -> None:
    """1,500 Markdown responses of 2,000 characters are scored for bold in well under a second."""
    block = (
        "Some **bold** words in a sentence that goes on for a while, and then a little longer.\n\n- item\n- item\n\n"
    )
    texts = [f"{i} " + block * 20 for i in range(1500)]
    start = time.process_time()
    assert score(surface("bold"), texts).tolist() == [20.0] * len(texts)
    # generous: slow and busy machines run this too
    assert time.process_time() - start < 3


FRAGMENTS = [
    "*",
    "**",
    "***",
    " ",
    "a",
    "1",
    "1.",
    "- ",
    "* ",
    "\n",
    "\n\n",
    ".",
    ":",
    "(",
    ")",
    "|",
    "é",
    "—",
    "#",
    "“",
]
FRAGMENTS += ["\u00a0", "&amp;", "$", "[", "]", "_", "\\", "<", "a_b", "[x]", "__", "    ", ">", "`", "~~~", "---", "+"]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=16).map("".join))
@settings(max_examples=1000, deadline=None)
@example("**a | b**\n|-|-|")
@example(">     **a**")
@example("-      **a**")
@example("a **b** c*d*")
def test_emphasis_without_a_parser(text: str) -> None:
    """Where emphasis is counted without parsing, the count is that of the parser."""
    plain = plain_emphasis(text)
    parsed = markup_module._parse(text)
    assert plain in (None, (parsed.bold, parsed.italic))


def test_most_emphasis_needs_no_parser() -> None:
    """Ordinary Markdown, with bullets, products and placeholders, is counted without parsing."""
    text = "# Plan\n\n1. **One:** do *this*, [Name].\n* 2 * 3\n- **Two** (*or* not) for snake_case.\n\n***\n\n**Done!**"
    assert plain_emphasis(text) == (3, 2)


def test_words_match_whole_words() -> None:
    """A lexicon matches whole words and phrases in any case, over line breaks, with either apostrophe."""
    concept = words("let's go", "cat", "C++", "new york city", "new york")
    texts = [
        "Let’s\n go",
        "LET'S GO cat CAT",
        "concatenate cats",
        "C++!",
        "New  York\tCity",
        "new york",
        "_cat_",
        "wildcat-cat",
        "",
    ]
    assert score(concept, texts).tolist() == [1, 3, 0, 1, 1, 1, 1, 1, 0]


def test_words_are_not_patterns() -> None:
    """The characters of a lexicon entry stand for themselves, and a blank entry matches nothing."""
    assert score(words("a.b", "(", " "), ["a.b axb", "( (", " "]).tolist() == [1, 2, 0]
    assert score(words(" "), ["", " ", "a"]).tolist() == [0, 0, 0]


def test_words_of_other_scripts() -> None:
    """Boundaries and case folding hold beyond ASCII."""
    assert score(words("ÉTÉ", "да"), ["un été", "étés", "Да, да!", "дача"]).tolist() == [1, 0, 2, 0]


def test_pattern_counts_matches() -> None:
    """A pattern scores its matches without overlap, and zero-width matches count as well."""
    assert score(pattern("aa"), ["aaaa", "aaa", "b"]).tolist() == [2, 1, 0]
    assert score(pattern(r"(?i)\bhello\b"), ["Hello, hello", "Othello"]).tolist() == [2, 0]
    assert score(pattern(r"\b(?=no\b)"), ["no, no", "nothing"]).tolist() == [2, 0]


def test_runaway_pattern_is_stopped() -> None:
    """A pattern that backtracks without bound is stopped after the time limit and named."""
    start = time.perf_counter()
    with pytest.raises(PatternTimeout) as stopped:
        score(pattern(r"(a|aa)+$"), ["fine", "a" * 60 + "b"])
    assert time.perf_counter() - start < 30
    assert stopped.value.pattern == r"(a|aa)+$"
    assert stopped.value.seconds == 1.0
    assert "(a|aa)+$" in str(stopped.value)


@pytest.mark.parametrize(
    ("regex", "complaint"),
    [
        ("(", "missing"),
        ("[a", "unterminated"),
        ("a{2,1}", ""),
        ("*a", "nothing to repeat"),
        ("a*", "empty text"),
        ("", "empty text"),
        ("a{1000000000}", "counted repeats"),
        ("(?:(?:(?:a{1000}){1000}){1000})", "counted repeats"),
        ("([ab]{300}){400}c", "counted repeats"),
        ("(?R)", "calls itself"),
        (r"\\(?R)", "calls itself"),
        ("a{0000000000009999999}", "counted repeats"),
        ("(a|b(?1))", "calls itself"),
        ("(" * 2000 + "a" + ")" * 2000, "nested too deeply"),
    ],
    ids=lambda value: value[:24],
)
def test_invalid_patterns(regex: str, complaint: str) -> None:
    """A pattern that can't be compiled, or that is in every text, is described and not scored."""
    message = check_pattern(regex)
    assert message is not None
    assert complaint in message
    with pytest.raises(ValueError, match="invalid pattern"):
        score(pattern(regex), ["a"])


@pytest.mark.parametrize(
    "regex",
    [
        "a", r"\p{Emoji}", r"(?x) a \ b  # note", r"(?<!\bnot )\bsorry\b", "a|b", r"\d{4}-\d{2}", r"a.{0,200}b.{0,200}c",
        r"\(\?R\)", r"[{(]{3}", r"[(?0-9]", r"(?:ab{2,}){1,500}",
    ],
)  # fmt: skip
def test_valid_patterns(regex: str) -> None:
    """Unicode properties, verbose mode and look-behinds are understood."""
    assert check_pattern(regex) is None


def test_which_kinds_have_detectors() -> None:
    """Patterns, lexicons and surfaces are scored from text; the other kinds need the model."""
    assert all(map(has_detector, (pattern("a"), words("a"), surface("bold"))))
    others = [
        {"examples": "a.jsonl"},
        {"label": "praise"},
        {"features": [1]},
        {"contrast": {"positive": "a", "negative": "b"}},
    ]
    for definition in others:
        concept = Concept.model_validate_json(json.dumps({"about": "Other.", **definition}))
        assert not has_detector(concept)
        with pytest.raises(ValueError, match="no detector"):
            score(concept, ["a"])


def test_import_is_light() -> None:
    """Importing the detectors and the library brings in nothing heavy: linting imports them."""
    heavy = {"numpy", "regex", "markdown_it", "yaml", "scipy", "pyarrow", "torch"}
    code = f"import sys, tiltc.detectors, tiltc.std; print(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("pattern", ["((((){9999}){9999}){9999})b", "a{" + "9" * 150_000, "[" * 50_000])
def test_what_would_take_all_memory_or_hours_to_compile_is_told_at_once(pattern: str) -> None:
    """Repeats of nothing count as well, and what does not end is looked for once."""
    start = time.process_time()
    assert check_pattern(pattern) is not None
    assert time.process_time() - start < 2
