"""Names of clusters: the words are those that were planted, the numbers those of a direct calculation."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tiltc import stats
from tiltc.audit.model import Label, Nearest, Snippet
from tiltc.audit.names import (
    Labeller,
    Vocabulary,
    distinctive,
    library_presence,
    make_label,
    nearest,
    read_labels,
    relabel,
    snippets,
)
from tiltc.audit.names.llm import KEY, parse_title
from tiltc.audit.names.log_odds import PRIOR, _rounded_up, log_odds_z
from tiltc.audit.names.nearest import areas_of
from tiltc.audit.names.tokens import terms_of
from tiltc.audit.names.words import names_something
from tiltc.detectors import patterns
from tiltc.parse import Definition
from tiltc.plan import Interval
from tiltc.spec import Concept

SHARED = Path(os.environ.get("TILTC_SHARED_DATA", "../shared/data"))
REAL = SHARED / "preferences" / "alpacaeval_style.parquet"
WORDS = (
    "river", "stone", "lamp", "cloud", "garden", "paper", "window", "coffee", "winter", "signal", "market", "bridge",
)  # fmt: skip


def texts(n: int, seed: int = 0, words: tuple[str, ...] = WORDS) -> list[str]:
    """Sentences of random words, no two the same."""
    rng = np.random.default_rng(seed)
    return [f"the {', '.join(rng.choice(words, 4))} of text{i:04}x" for i in range(n)]


def indicator(*inside: list[int], docs: int) -> sparse.csr_matrix:
    dense = np.zeros((len(inside), docs))
    for i, at in enumerate(inside):
        dense[i, at] = 1
    return sparse.csr_matrix(dense)


# terms


def test_planted_words_come_first() -> None:
    """Each cluster is named by what was planted in it, whether word, pair or mark, and a cluster without any by nothing."""
    corpus = texts(300)
    for i in range(30):
        corpus[i] += " and preheat the oven"
        corpus[30 + i] = f"# {corpus[30 + i]}\n1. use **bold** text 🎉"
        corpus[60 + i] += " as a language model"
    clusters = [list(range(a, a + 30)) for a in (0, 30, 60)]
    clusters.append(sorted(np.random.default_rng(1).choice(np.arange(90, 300), 30, replace=False).tolist()))
    found = distinctive(Vocabulary(corpus), indicator(*clusters, [], docs=300))
    assert set(found[0]) == {"preheat", "oven"}
    assert {"#", "1.", "**", "🎉"} <= set(found[1])
    assert set(found[2]) in ({"language model"}, {"language", "model"})
    assert found[3] == found[4] == ()


def test_terms_of_a_text() -> None:
    """Marks count where they mark something, pairs don't cross a line or a stop, addresses and rules are one term."""
    text = "## Don’t panic\n\n- **one** two. Three!\n2) see https://a.org/b?c#d | x\n---\n# # #a 5 2024 - 3) ```py\n"
    assert terms_of(text) == {
        "#", "don't", "panic", "don't panic", "-", "**", "one", "two", "three", "!", "1.", "see", "https://", "|", "x",
        "---", "2024", "a", "```", "py",
    }  # fmt: skip


def test_rare_and_common_terms_are_left_out() -> None:
    """A term is in three distinct texts at least and in 95% of them at most."""
    corpus = [f"everywhere, {'twice' if i < 2 else ''}, {'thrice' if 5 <= i < 8 else ''}, {i:04}" for i in range(40)]
    assert Vocabulary(corpus).terms == ("thrice",)
    assert "twice" not in Vocabulary([*corpus, corpus[0], corpus[0]]).terms


def test_repeated_texts_speak_once() -> None:
    """One text that comes twenty times is no evidence that its words are typical."""
    corpus = [*texts(100), *["a zebra crossing"] * 20]
    corpus[:2] = [t + " zebra crossing" for t in corpus[:2]]
    vocabulary = Vocabulary(corpus)
    assert vocabulary.weight.sum() == pytest.approx(101)
    assert distinctive(vocabulary, indicator(list(range(100, 120)), docs=120)) == [()]


def log_odds(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Monroe, Colaresi and Quinn (2008) as written there: y of i and j, and a prior of a tenth of both."""
    y, n, alpha = (inside, outside), (inside.sum(), outside.sum()), PRIOR * (inside + outside)
    omega = [np.log((y[k] + alpha) / (n[k] + alpha.sum() - y[k] - alpha)) for k in (0, 1)]
    return (omega[0] - omega[1]) / np.sqrt(sum(1 / (y[k] + alpha) for k in (0, 1)))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_z_equals_a_direct_calculation(seed: int) -> None:
    """Scores are the log-odds ratio with the prior over its standard error, and terms are listed in their order."""
    rng = np.random.default_rng(seed)
    inside, outside = rng.integers(0, 30, 40).astype(float), rng.integers(1, 60, 40).astype(float)
    every = inside + outside
    z = log_odds_z(inside, every, float(inside.sum()), float(every.sum()))
    assert np.allclose(z, log_odds(inside, outside))


def test_terms_are_in_the_order_of_z() -> None:
    """From texts to list: the terms above what chance reaches, in three texts or more, by falling z."""
    corpus = texts(400, words=WORDS[:6])
    for i, word in enumerate(WORDS[6:]):
        for j in range(0, 12 * (i + 1), 2):
            corpus[j] += f", {word}"
    vocabulary = Vocabulary(corpus)
    dense, docs = vocabulary.presence.toarray(), np.zeros(400)
    docs[:60] = 1
    z = log_odds(docs @ dense, (1 - docs) @ dense)
    least = max(2.0, float(vocabulary.counts().by_chance([60])[0]))
    expected = [vocabulary.terms[i] for i in np.argsort(-z, kind="stable") if z[i] > least]
    assert len(expected) >= 4
    listed = tuple(term for term in expected if names_something(term))[:8]
    assert distinctive(vocabulary, sparse.csr_matrix(docs[None])) == [listed]


def many_words(n: int, seed: int) -> list[str]:
    """Texts of 80 words out of some thousands, as common as those of a language (Zipf)."""
    drawn = np.minimum(np.random.default_rng(seed).zipf(1.3, (n, 80)), 5000)
    return [" ".join(f"w{word:x}q" for word in row) for row in drawn]


def test_random_texts_have_no_name() -> None:
    """Among thousands of terms some stand out of any texts: that is no name, and what was planted still is one."""
    corpus = many_words(2000, 0)
    for i in range(100):
        corpus[i] += " zebra"
    rng = np.random.default_rng(1)
    clusters = [rng.choice(2000, size, replace=False).tolist() for size in (20, 100, 200) for _ in range(50)]
    vocabulary = Vocabulary(corpus)
    assert len(vocabulary.terms) > 2000
    planted, *chance = distinctive(vocabulary, indicator(list(range(100)), *clusters, docs=2000))
    assert planted[0] == "zebra"
    assert sum(map(bool, chance)) <= 8


def test_chance_is_drawn_for_sets_as_large() -> None:
    """Sizes are rounded up to few, never beyond all texts, and empty sets have a line too."""
    sizes = [_rounded_up(size, 100) for size in range(101)]
    assert all(size <= rounded <= 1.5 * size for size, rounded in enumerate(sizes))
    assert sorted(set(sizes)) == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100]


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_order_of_texts_does_not_matter(seed: int) -> None:
    """The same texts in another order have the same terms and names."""
    corpus = [text + (" planted words" if i < 20 else "") for i, text in enumerate(texts(80, seed))]
    order = np.random.default_rng(seed).permutation(80)
    inside = indicator(list(range(20)), list(range(40, 60)), docs=80)
    one, other = Vocabulary(corpus), Vocabulary([corpus[i] for i in order])
    assert one.terms == other.terms
    assert distinctive(one, inside) == distinctive(other, sparse.csr_matrix(inside.toarray()[:, order]))


def test_near_duplicates_and_grammar_are_left_out() -> None:
    """No word twice, alone, in a pair or in the plural; grammar only where nothing else is typical."""
    corpus = [text.replace("the ", "") for text in texts(200)]
    for i in range(30):
        corpus[i] += f". the recipe{'s' if i % 2 else ''}; of course, tomato soup"
        corpus[50 + i] += " of the of the"
    found = distinctive(Vocabulary(corpus), indicator(list(range(30)), list(range(50, 80)), docs=200))
    words = [w.rstrip("s") for term in found[0] for w in term.split()]
    assert len(words) == len(set(words))
    assert {"tomato", "recipe", "course"} <= set(words)
    assert not {"of", "the"} & set(words)
    assert set(found[1]) & {"of the", "the of", "the"}


NASTY = (
    "",
    "\x00\x1b[31m\u202e\ud800",
    "a" * 1_000_000,
    "🎉🚀" * 50_000,
    "a'" * 300_000,
    "\n  " * 200_000,
    "# " * 300_000,
)


def test_nasty_texts() -> None:
    """Empty texts, control characters, half a pair of surrogates and a megabyte without a blank are read, and fast."""
    began = time.perf_counter()
    vocabulary = Vocabulary([*NASTY, *texts(20)])
    assert distinctive(vocabulary, indicator(list(range(len(NASTY))), docs=len(NASTY) + 20)) == [()]
    assert time.perf_counter() - began < 20
    assert all(len(term) < 100 and term.isprintable() for term in vocabulary.terms)
    for empty in (Vocabulary([]), Vocabulary(["", ""])):
        assert distinctive(empty, sparse.csr_matrix((3, len(empty.weight)))) == [(), (), ()]


# the nearest concept


def test_nearest_equals_auroc() -> None:
    """The concepts reported are those of largest AUROC whose interval is above 0.6, with the interval of `stats.auroc`."""
    rng = np.random.default_rng(0)
    scores = np.maximum(rng.normal(size=(400, 150)), 0).astype(np.float32)
    presence = {f"c{k}": scores[:, k] + rng.normal(size=400) * 0.4 * (k + 1) > 0.7 for k in range(4)}
    presence |= {"all": np.ones(400, dtype=bool), "few": np.arange(400) < 9}
    found = nearest(scores, presence)
    for j in range(8):
        both = {n: stats.auroc(scores[:, j].astype(float), p) for n, p in presence.items() if 10 <= p.sum() <= 390}
        expected = sorted((n for n, i in both.items() if i.low > 0.6), key=lambda n: -both[n].value)[:3]
        assert found[j] == tuple(Nearest(concept=n, auroc=both[n]) for n in expected)
    assert len(found) == 150
    assert found[0][0].concept == "c0"


def test_screening_is_exact_with_ties() -> None:
    """The rank sums of the screening are those of the reported AUROC, whatever is tied."""
    rng = np.random.default_rng(1)
    scores, shown = rng.integers(0, 3, (60, 5)).astype(float), rng.random((3, 60)) < 0.4
    for (k, j), area in np.ndenumerate(areas_of(scores, shown)):
        assert area == pytest.approx(stats.auroc(scores[:, j], shown[k]).value)


def test_nothing_is_near_without_concepts() -> None:
    """Without a concept that is shown often enough, no cluster has a nearest."""
    assert nearest(np.ones((30, 2)), {}) == nearest(np.ones((30, 2)), {"rare": np.arange(30) < 3}) == [(), ()]


def defined(name: str, **concept: object) -> Definition:
    return Definition(name, Concept.model_validate({"about": name, **concept}), "own.yaml", Path(), ())


def test_library_is_read_by_its_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concepts that read such texts and have a detector, at `at_least` matches; a pattern that runs away is left out."""
    monkeypatch.setattr(patterns, "TIMEOUT", 0.05)
    library = {
        d.name: d
        for d in (
            defined("ocean", words=("sea", "whale"), at_least=2),
            defined("slow", pattern="(a+)+$"),
            defined("long", surface="length"),
            defined("pinned", features=(3,)),
            defined("asks", pattern=r"\?", reads="prompt"),
        )
    }
    given = ["a whale in the sea", "a whale?", "a" * 5000 + "b"]
    shown = library_presence(library, given, "response")
    assert {name: at.tolist() for name, at in shown.items()} == {"ocean": [True, False, False]}
    assert library_presence(library, given, "prompt")["asks"].tolist() == [False, True, False]


# snippets


def test_snippet_is_a_window_of_whole_words() -> None:
    """About 120 characters around the mark, cut between words, line ends shown, the mark where it was."""
    text = "lead " * 60 + "the\n\nbold \x1b[1mmove\u202e here" + " tail" * 60
    start = text.index("bold")
    (found,) = snippets([(text, start, text.index("move") + 4)])
    assert found.text[found.start : found.end] == "bold [1mmove"
    assert "the ⏎ bold" in found.text
    assert len(found.text) <= 130
    assert set(found.text.strip("…").split()) <= {"lead", "the", "⏎", "bold", "[1mmove", "here", "tail"}


def test_snippets_are_few_and_differ() -> None:
    """The first five that read differently."""
    found = [(f"Say {w} now", 4, 4 + len(w)) for w in ("yes", "YES", "yes", *WORDS)]
    assert [s.text for s in snippets(found)] == ["Say yes now", *[f"Say {w} now" for w in WORDS[:4]]]


@given(st.text(max_size=300), st.integers(-5, 320), st.integers(-5, 320))
def test_marks_are_inside_of_snippets(text: str, start: int, end: int) -> None:
    """Whatever the text and mark, a snippet is one clean line and its mark a piece of it."""
    for snippet in snippets([(text, start, end)]):
        assert 0 <= snippet.start < snippet.end <= len(snippet.text) <= 600
        assert "\n" not in snippet.text
        snippet.text.encode()


def test_nasty_snippets() -> None:
    """Texts without a word's end are cut; a mark with nothing to show is left out."""
    cases = [(text, len(text) // 2, len(text) // 2 + 5) for text in NASTY]
    assert all(len(s.text) <= 130 for s in snippets(cases))
    assert snippets([("a \x00\x01 b", 2, 4), ("abc", 2, 1), ("", 0, 0)]) == ()
    (mark,) = snippets([("one\n\ntwo", 3, 5)])
    assert "⏎" in mark.text[mark.start : mark.end]


# label files

NEURONPEDIA = [
    {
        "modelId": "m",
        "layer": "0-res",
        "index": "3",
        "description": "numbered steps",
        "typeName": "oai",
        "embedding": [1],
    },
    {"index": 4, "explanation": " words of\tthanks "},
    {"feature": "5", "label": "Python\u2028code"},
    {"index": 3, "description": "a second opinion"},
    {"index": 900, "description": "out of range"},
    {"index": 6, "description": ""},
    {"index": True, "description": "no number"},
    "no record",
]
READ = {3: "numbered steps", 4: "words of thanks", 5: "Python code"}
FORMS: dict[str, Callable[[], bytes]] = {
    "list.json": lambda: json.dumps(NEURONPEDIA).encode(),
    "under.json": lambda: json.dumps({"explanations": NEURONPEDIA}).encode(),
    "indented.json": lambda: json.dumps({"explanations": NEURONPEDIA}, indent=1).encode(),
    "lines.jsonl": lambda: "\n\n".join(json.dumps(r, ensure_ascii=False) for r in NEURONPEDIA[:-1]).encode(),
    "lines.jsonl.gz": lambda: gzip.compress("\n".join(json.dumps(r) for r in NEURONPEDIA[:-1]).encode()),
    "marked.jsonl": lambda: b"\xef\xbb\xbf" + "\r\n".join(json.dumps(r) for r in NEURONPEDIA[:-1]).encode(),
    "of_features.json": lambda: json.dumps(
        [{"index": str(f), "explanations": [{"description": t}, {"description": "more"}]} for f, t in READ.items()]
    ).encode(),
    "table.csv": lambda: (
        b'label,feature\r\nnumbered steps,3\r\n"words of\nthanks",4\r\nPython code, 5\r\nshort row\r\n'
    ),
    "zipped.csv.gz": lambda: gzip.compress(b"index,description\n3,numbered steps\n4,words of thanks\n5,Python code\n"),
}


@pytest.mark.parametrize("name", FORMS)
def test_label_files(name: str, tmp_path: Path) -> None:
    """Every form is read; the first label of a feature counts; those of features that the SAE lacks are counted: T703."""
    (tmp_path / name).write_bytes(FORMS[name]())
    labels, found = read_labels(tmp_path / name, 10)
    assert labels == READ
    beyond = [] if name in ("of_features.json", "table.csv", "zipped.csv.gz") else [("T703", "1 of 5 labels")]
    assert [(d.code, d.primary.text.partition(": ")[2]) for d in found] == beyond


BAD = {
    "empty.json": b"",
    "none.json": b'{"explanations": []}',
    "other.csv": b"name,score\na,1\n",
    "broken.json": b'[{"index": 1',
    "line.jsonl": b'{"index": 1, "label": "a"}\n{"index": 2,\n',
    "latin.csv": "feature,label\n1,caf\xe9\n".encode("latin-1"),
    "cut.json.gz": gzip.compress(b'{"index": 1, "label": "a"}')[:-9],
    "no.gz": b"\x1f\x8bnot",
    "deep.json": b"[" * 100_000,
    "range.jsonl": b'{"index": 500, "label": "a"}',
    "binary.csv": b"\x00\x01\x02feature,label\n",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_label_files(name: str, tmp_path: Path) -> None:
    """A file that can't be read, or has no label of a feature of the SAE, is T701 and says why."""
    (tmp_path / name).write_bytes(BAD[name])
    labels, found = read_labels(tmp_path / name, 100)
    assert labels is None
    assert [(d.code, bool(d.notes)) for d in found] == [("T701", True)]


def test_missing_label_file(tmp_path: Path) -> None:
    """So is a path with no file, and a folder."""
    for path in (tmp_path, tmp_path / "none.json"):
        labels, found = read_labels(path, 100)
        assert labels is None
        assert [d.code for d in found] == ["T701"]


# a language model


class Endpoint:
    """A stand-in for a labeller: answers in turn, the last one for ever, and remembers what it was asked."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, str]] = [(200, '{"title": "Cooking steps"}')]
        self.asked: list[tuple[str, str | None, dict[str, object]]] = []

    def reply(self) -> tuple[int, str]:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def endpoint() -> Iterator[tuple[Endpoint, str]]:
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append((self.path, self.headers["Authorization"], body))
            status, content = state.reply()
            data = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state, f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def named(title: str) -> Label:
    snippet = Snippet(text="stir the soup", start=0, end=4)
    return Label(title=title, source="terms", terms=(title, "soup"), snippets=(snippet,))


def test_titles_are_asked_once(endpoint: tuple[Endpoint, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A title replaces the one from the data, and a second audit asks nothing."""
    monkeypatch.setenv(KEY, "s3cret")
    state, url = endpoint
    told: list[str] = []
    labeller = Labeller(url, "m", tmp_path / "answers")
    for _ in range(2):
        labels, found = relabel(labeller, [named("oven"), named("pan")], told.append)
        assert [(x.title, x.source, x.terms[1]) for x in labels] == [("Cooking steps", "llm", "soup")] * 2
        assert not found
    assert len(state.asked) == 2
    path, key, body = state.asked[0]
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer s3cret", "m")
    assert "[[stir]] the soup" in json.dumps(body)
    assert "- oven" in json.dumps(body)
    assert "s3cret" not in "".join(f.read_text() for f in (tmp_path / "answers").iterdir())
    relabel(Labeller(url, "other", tmp_path / "answers"), [named("oven")], told.append)
    assert len(state.asked) == 3


def test_busy_endpoints_are_asked_again(endpoint: tuple[Endpoint, str], tmp_path: Path) -> None:
    """429 and 5xx are tried again, a few times."""
    state, url = endpoint
    state.replies = [(429, ""), (503, ""), (200, '```json\n{"title": "Soup"}\n```')]
    labels, found = relabel(Labeller(url, "m", tmp_path, pause=0.001), [named("oven")], print)
    assert (labels[0].title, len(found), len(state.asked)) == ("Soup", 0, 3)


@pytest.mark.parametrize("status", [401, 404, 500, 302])
def test_without_an_answer_the_names_stay(endpoint: tuple[Endpoint, str], tmp_path: Path, status: int) -> None:
    """Refusals and redirects are T702, once: the other clusters aren't asked about, and the names from the data stay."""
    state, url = endpoint
    state.replies = [(200, '{"title": "Soup"}'), (status, "")]
    given = [named("oven"), named("pan"), named("pot")]
    labels, found = relabel(Labeller(url, "m", tmp_path, pause=0.001), given, print)
    assert [x.title for x in labels] == ["Soup", "pan", "pot"]
    assert [(d.code, d.notes) for d in found] == [("T702", ("2 of 3 clusters keep the names made from the data",))]
    assert len(state.asked) == 1 + (4 if status == 500 else 1)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/v1", "file:///etc", "no endpoint", "http://[::1/v1", "http://a b/v1", "http://127.0.0.1:1/é"],
)
def test_no_endpoint(tmp_path: Path, url: str) -> None:
    """An endpoint that isn't there, or is no endpoint, is T702."""
    labels, found = relabel(Labeller(url, "m", tmp_path), [named("oven")], print)
    assert (labels, [d.code for d in found]) == ([named("oven")], ["T702"])


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_questions_leave_the_others(endpoint: tuple[Endpoint, str], tmp_path: Path, status: int) -> None:
    """A question that the endpoint does not take, as content filters do, leaves one name as it is and is said."""
    state, url = endpoint
    state.replies = [(status, ""), (200, '{"title": "Soup"}')]
    labels, found = relabel(Labeller(url, "m", tmp_path), [named("oven"), named("pan"), named("pot")], print)
    assert [x.title for x in labels] == ["oven", "Soup", "Soup"]
    assert [d.code for d in found] == ["T702"]
    assert "for 1 of 3 clusters" in next(iter(found)).primary.text
    assert next(iter(found)).notes == (f"some questions were refused: HTTP status {status}",)
    assert len(state.asked) == 3


@pytest.mark.parametrize("key", ["s3\ncret", "s3crét"])
def test_key_that_no_request_can_carry(
    endpoint: tuple[Endpoint, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Such a key is T702 without being printed; a line end after a key is no part of it."""
    state, url = endpoint
    monkeypatch.setenv(KEY, key)
    labels, found = relabel(Labeller(url, "m", tmp_path), [named("oven")], print)
    assert (labels, [d.code for d in found], state.asked) == ([named("oven")], ["T702"], [])
    assert "s3" not in str(list(found))
    monkeypatch.setenv(KEY, "s3cret\n")
    relabel(Labeller(url, "m", tmp_path), [named("oven")], print)
    assert state.asked[0][1] == "Bearer s3cret"


def test_answers_without_a_title(endpoint: tuple[Endpoint, str], tmp_path: Path) -> None:
    """An odd answer leaves one name as it is, is T702, and isn't kept."""
    state, url = endpoint
    state.replies = [(200, "I can't."), (200, '{"title": "Soup"}')]
    labels, found = relabel(Labeller(url, "m", tmp_path), [named("oven"), named("pan")], print)
    assert ([x.title for x in labels], [d.code for d in found]) == (["oven", "Soup"], ["T702"])
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ('{"title": "A"}', "A"),
        ('```json\n{"title": "A"}\n```', "A"),
        ('Thinking {of it}: {"x": {"title": 3}} so {"title": " A\\n\\u001b b "}.', "A \ufffd b"),
        ('{"title": ""}', None),
        ('["title"]', None),
        ('{"title": "' + "x" * 500 + '"}', "x" * 80),
        ('{"a":' * 5000, None),
    ],
)
def test_titles_in_answers(answer: str, title: str | None) -> None:
    """A title is found in whatever is written around it, and is one short printable line."""
    assert parse_title(answer) == title


# the name


def near(auroc: float) -> tuple[Nearest, ...]:
    return (Nearest(concept="std.style.list", auroc=Interval(value=auroc, low=auroc - 0.02, high=auroc + 0.02)),)


@pytest.mark.parametrize(
    ("terms", "nearest_to", "imported", "title", "source"),
    [
        (("1.", "steps", "tips"), near(0.95), ("a label",), "list · 1. · steps", "concept"),
        (("list", "steps"), near(0.9), (), "list · steps", "concept"),
        ((), near(0.95), (), "list", "concept"),
        (("1.", "steps"), near(0.89), ("a label", "b"), "a label", "imported"),
        (("1.", "steps", "tips", "oven"), near(0.8), (), "1. · steps · tips", "terms"),
        ((), (), (), "(no distinctive words)", "none"),
    ],
)
def test_name(
    terms: tuple[str, ...], nearest_to: tuple[Nearest, ...], imported: tuple[str, ...], title: str, source: str
) -> None:
    """A concept that the cluster detects well, else what others called its features, else its words; all are kept."""
    label = make_label(terms, nearest_to, imported, ())
    assert (label.title, label.source) == (title, source)
    assert (label.terms, label.nearest, label.imported) == (terms, nearest_to, imported)


# real texts


@pytest.mark.skipif(not REAL.exists(), reason=f"needs {REAL} (TILTC_SHARED_DATA says where)")
def test_real_responses_are_named_as_a_reader_would() -> None:
    """On 6,000 responses of many models: what is bold is called bold, refusals are called so, recipes by their words."""
    import pyarrow.parquet as pq

    table = pq.read_table(REAL).slice(0, 3000)
    sides = ("chosen", "rejected")
    corpus = [str(m[-1]["content"]) for side in sides for m in table.column(side).to_pylist()]
    facts = {k: np.concatenate([table.column(f"{s}_has_{k}").to_numpy() for s in sides]) for k in ("bold", "refusal")}
    facts["recipe"] = np.array(["ingredients" in text.lower() for text in corpus])
    found = distinctive(Vocabulary(corpus), sparse.csr_matrix(np.stack(list(facts.values())).astype(float)))
    assert found[0][0] == "**"
    assert {"sorry", "i cannot"} & set(found[1][:3])
    assert {"ingredients", "instructions"} <= set(found[2])
