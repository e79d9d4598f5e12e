"""Concepts by contrast: sampled once, filtered as said, found again by what they follow from, compiled like examples."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.kill_resume_harvest import only_own

from tests.runtime.tiny import CHAT_TEMPLATE, tiny_data_file, tiny_model_folder, tiny_sae_folder, tiny_tokenizer
from tiltc import endpoint
from tiltc.cli import main
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import Evidence, Manifest, SampledManifest, examples_digest, open_evidence, recipe_of, surviving
from tiltc.evidence.sampled import ANSWERS, Answer, kept_examples, read_answers
from tiltc.parse import SpecFile, parse
from tiltc.planfile import read_plan
from tiltc.questions import BUILTIN_QUESTIONS
from tiltc_runtime import inputs, prompts, rollouts
from tiltc_runtime.harvest import harvest
from tiltc_runtime.prompts import under_system

ROOT = Path(__file__).parents[2]
QUESTIONS = [f"Question {i} of the garden?" for i in range(24)]
SPEC = """\
tiltc: 1
name: tiny
model: ./model
sae: ./sae
data: pairs.jsonl
concepts:
  the: {about: Says the., words: [th, the]}
  kind:
    about: Kind and warm.
    contrast:
      positive: Be kind.
      negative: Be cold.
      questions: questions.jsonl
      max_new_tokens: 8
signals:
  - suppress: kind
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec, a tiny model, an SAE, pairs and questions."""
    folder = tmp_path_factory.mktemp("world")
    tiny_model_folder(folder / "model")
    tiny_sae_folder(folder / "sae")
    tiny_data_file(folder / "pairs.jsonl", 80)
    lines = "".join(json.dumps({"prompt": q}) + "\n" for q in [*QUESTIONS, QUESTIONS[0]])
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Before the module's other fixtures: bits are compared, and threads change the order of sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def spec(world: Path, *overrides: str) -> SpecFile:
    spec_file, found = parse(str(world / "spec.yaml"), overrides)
    assert spec_file is not None, list(found)
    return only_own(spec_file)


def done(world: Path, store: Path, *overrides: str, err: io.StringIO | None = None) -> Path:
    folder, found = harvest(spec(world, *overrides), store, device="cpu", err=err)
    assert folder is not None, list(found)
    return folder


def opened(folder: Path) -> Evidence:
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    return evidence


def sampled(folder: Path, world: Path, *overrides: str) -> tuple[SampledManifest, list[Answer]]:
    """What lies in the folder of the set that the spec names."""
    key = recipe_of(spec(world, *overrides).library["kind"]).key
    manifest = Evidence(folder, Manifest.model_validate_json((folder / "manifest.json").read_bytes())).sampled(key)
    assert manifest is not None
    return manifest, read_answers(folder / "sampled" / key / ANSWERS)


def setting(key: str, value: str) -> str:
    return f"concepts.kind.contrast.{key}={value}"


# sampling


@pytest.fixture(scope="module")
def first(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return done(made, tmp_path_factory.mktemp("first"))


def test_both_sides_answer_every_question(made: Path, first: Path) -> None:
    """One answer a side and question, read without its system prompt; answers to one question share a pair."""
    manifest, answers = sampled(first, made)
    assert len(answers) == 2 * len(QUESTIONS) == manifest.answers
    for side in (0, 1):
        assert [a.prompt for a in answers if a.label == side] == QUESTIONS
    assert len({a.pair for a in answers}) == len(QUESTIONS)
    assert all((a.pair == b.pair) == (a.prompt == b.prompt) for a in answers for b in answers)
    assert [a.response for a in answers if a.label] != [a.response for a in answers if not a.label]


def test_the_set_is_in_the_evidence(made: Path, first: Path) -> None:
    """What was kept is a contrast set by the digest of its rows, and the manifest says what it was sampled from."""
    manifest, answers = sampled(first, made)
    evidence = opened(first)
    contrast = evidence.contrast(manifest.contrast)
    assert contrast is not None
    assert manifest.contrast == examples_digest(kept_examples(answers))
    assert contrast.table.column("response").to_pylist() == [a.response for a in answers if not a.dropped]
    assert (manifest.positives, manifest.negatives) == tuple(int((contrast.labels == k).sum()) for k in (1, 0))
    assert (manifest.model, manifest.template) == (evidence.manifest.model.digest, evidence.manifest.template)
    assert (manifest.recipe.positive, manifest.recipe.judge) == (("Be kind.",), None)


def test_nothing_is_sampled_twice(made: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything there, no weights are loaded; a lost set is made of the kept answers, to the same bytes."""
    import shutil

    with monkeypatch.context() as patch:
        patch.setattr(inputs, "load_model", lambda *_, **__: pytest.fail("loaded the model"))
        err = io.StringIO()
        assert done(made, first.parent, err=err) == first
        assert "nothing to do" in err.getvalue()
    monkeypatch.setattr(rollouts, "generate", lambda *_: pytest.fail("sampled again"))
    before = contents(first)
    shutil.rmtree(first / "sampled")
    shutil.rmtree(first / "contrast")
    assert done(made, first.parent) == first
    assert contents(first) == before


def test_a_killed_harvest_samples_the_rest(
    made: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of a side, it goes on with the next batch, and the set has the same bytes."""
    monkeypatch.setattr(rollouts, "BATCH", 10)
    whole = done(made, tmp_path / "whole")
    generate, left = rollouts.generate, [3]

    def dies(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return generate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(rollouts, "generate", dies)
        with pytest.raises(KeyboardInterrupt):
            harvest(spec(made), tmp_path / "killed", device="cpu")
    calls: list[int] = []
    monkeypatch.setattr(rollouts, "generate", lambda *a: (calls.append(len(a[2])), generate(*a))[1])
    folder = done(made, tmp_path / "killed")
    assert calls == [10, 10, 4]
    assert contents(folder) == contents(whole)
    assert contents(tmp_path / "killed" / "rollouts") == contents(tmp_path / "whole" / "rollouts")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize(
    "change",
    [setting("negative", "Be icy."), setting("seed", "1"), setting("temperature", "1"), setting("drop_refusals", "false"),
     setting("kept_by", "the"), setting("questions", "builtin:safety")],
)  # fmt: skip
def test_what_makes_another_recipe(made: Path, change: str) -> None:
    """Prompts, questions, settings and the filter are what a set follows from; what the concept is called is not."""
    before, after = (recipe_of(spec(made, *c).library["kind"]).key for c in ((), (change,)))
    assert before != after
    assert recipe_of(spec(made, "concepts.kind.about=Warm.").library["kind"]).key == before


def test_contents_count_and_not_names(made: Path, tmp_path: Path) -> None:
    """Other questions in the file, or another detector under the name, make another recipe; another path does not."""
    import shutil

    before = recipe_of(spec(made, setting("kept_by", "the")).library["kind"]).key
    world = Path(shutil.copytree(made, tmp_path / "copy"))
    assert recipe_of(spec(world, setting("kept_by", "the")).library["kind"]).key == before
    detector = spec(world, setting("kept_by", "the"), "concepts.the.words=[a]").library["kind"]
    (world / "questions.jsonl").write_text('{"prompt": "Another?"}\n', encoding="utf-8")
    questions = spec(world, setting("kept_by", "the")).library["kind"]
    assert len({before, recipe_of(detector).key, recipe_of(questions).key}) == 3
    plans = [spec(made, setting("kept_by", "the"), f"concepts.the.words={words}").digest for words in ("[a]", "[b]")]
    assert plans[0] != plans[1]


def test_a_changed_prompt_samples_only_its_own(made: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side's answers are taken from where they are kept, and the old set stays."""
    asked: list[str] = []
    generate = rollouts.generate

    def listens(model: Any, tokenizer: Any, conversations: Any, *rest: Any) -> Any:
        asked.extend(prompt.messages[0]["content"] for prompt in conversations)
        return generate(model, tokenizer, conversations, *rest)

    monkeypatch.setattr(rollouts, "generate", listens)
    change = setting("negative", "Be icy.")
    folder = done(made, first.parent, change)
    assert folder == first
    assert set(asked) == {"Be icy."}
    assert sampled(folder, made, change)[0].contrast != sampled(folder, made)[0].contrast


def test_several_system_prompts_a_side(made: Path, tmp_path: Path) -> None:
    """All of them answer all questions; a question's answers stay in one half."""
    pairs = [setting("positive", "[Be kind., Be warm.]"), setting("negative", "[Be cold., Be harsh.]")]
    manifest, answers = sampled(done(made, tmp_path, *pairs), made, *pairs)
    assert manifest.answers == 4 * len(QUESTIONS)
    assert {(a.label, a.system) for a in answers} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert len({a.pair for a in answers}) == len(QUESTIONS)


def test_templates_without_a_system_turn() -> None:
    """Where the template refuses or forgets a system turn, the system prompt opens the user's turn."""
    tokenizer = tiny_tokenizer()
    assert [m["role"] for m in under_system(tokenizer, "Be kind.", "Why?").messages] == ["system", "user"]
    user_only = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    for template in (user_only, "{{ raise_exception('no system') }}" + CHAT_TEMPLATE):
        tokenizer.chat_template = template
        assert under_system(tokenizer, "Be kind.", "Why?").messages == (
            {"role": "user", "content": "Be kind.\n\nWhy?"},
        )
    tokenizer.chat_template = None
    assert len(under_system(tokenizer, "Be kind.", "Why?").messages) == 2


def test_builtin_questions_are_those_of_the_runtime() -> None:
    """The names that lint takes are those of the runtime's sets, and the documentation counts the default right."""
    assert tuple(f"builtin:{name}" for name in prompts.BUILTIN) == BUILTIN_QUESTIONS
    general, _ = prompts.read_prompts("builtin:general")
    assert f"{len(general or ())} everyday questions" in (ROOT / "docs" / "concepts.md").read_text("utf-8")


def test_changed_answers_are_seen(made: Path, tmp_path: Path) -> None:
    """Evidence whose answers were edited does not open."""
    folder = done(made, tmp_path)
    file = next(folder.glob(f"sampled/*/{ANSWERS}"))
    written = file.read_text("utf-8")
    file.write_text(written.replace('"label": 1', '"label": 0', 1), encoding="utf-8")
    assert not_opened(folder) == ["T504"]
    file.write_text(written, encoding="utf-8")
    file.parent.rename(file.parent.with_name("0" * 64))
    assert not_opened(folder) == ["T504"]


def not_opened(folder: Path) -> list[str]:
    """Why evidence does not open."""
    evidence, found = open_evidence(folder)
    assert evidence is None
    return [d.code for d in found]


# filters


def test_a_detector_filters(made: Path, first: Path) -> None:
    """Positive answers without a match and negative ones with one are left out, and the output says how many."""
    err = io.StringIO()
    keep = setting("kept_by", "the")
    manifest, answers = sampled(done(made, first.parent, keep, err=err), made, keep)
    says = f"`kind`: {manifest.positives} of 24 positive and {manifest.negatives} of 24 negative answers kept"
    assert says in err.getvalue()
    if not manifest.unfiltered:
        assert all(a.dropped or ("th" in a.response.lower()) == bool(a.label) for a in answers)
    else:
        assert "was not used" in err.getvalue()


# a judge


class Judge:
    """An endpoint whose answers the test decides, by the question's text."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        self.reply: Callable[[str], tuple[int, bytes]] = lambda _: (200, said('{"score": 50}'))


def said(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@pytest.fixture
def judge() -> Iterator[tuple[Judge, str]]:
    state = Judge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["messages"][0]["content"]
            state.asked.append(prompt)
            state.keys.append(self.headers["Authorization"])
            status, data = state.reply(prompt)
            self.send_response(status)
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


def judged(url: str) -> str:
    return setting("judge", f"{{model: m, endpoint: '{url}'}}")


def test_a_judge_filters(made: Path, first: Path, judge: tuple[Judge, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are in the artifact; positives below 50 and negatives above are out; refusals and answers without a score too."""
    monkeypatch.setattr(surviving, "FEWEST", 5)
    state, url = judge
    by_question = {q: str(90 if i % 3 == 0 else 20 if i % 3 == 1 else 50) for i, q in enumerate(QUESTIONS)}
    by_question |= {QUESTIONS[0]: '"refusal"', QUESTIONS[1]: '"no idea"'}
    # a question that ends in `1 of the garden?` is not the one that ends in `11 of the garden?`
    state.reply = lambda prompt: (
        200,
        said(next(f'{{"score": {s}}}' for q, s in by_question.items() if f"\n{q}\n" in prompt)),
    )
    err = io.StringIO()
    folder = done(made, first.parent, judged(url), err=err)
    manifest, answers = sampled(folder, made, judged(url))
    assert manifest.recipe.judge == "m"
    assert manifest.recipe.rubric == "Kind and warm."
    assert not manifest.unfiltered
    for answer in answers:
        i = QUESTIONS.index(answer.prompt)
        if answer.dropped == "empty":
            continue
        expected = {0: "refusal", 1: "no score"}.get(
            i, ["" if answer.label else "judge", "judge" if answer.label else "", ""][i % 3]
        )
        assert answer.dropped == expected
        assert answer.score == {0: None, 1: None}.get(i, [90, 20, 50][i % 3])
    assert "answers kept; left out: " in err.getvalue()
    assert "instruction to" in state.asked[0]
    assert "Kind and warm." in state.asked[0]


def test_verdicts_are_kept(made: Path, first: Path, judge: tuple[Judge, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that goes away half-way is one finding; the next harvest asks the rest, and one after it nothing."""
    state, url = judge
    monkeypatch.setattr(endpoint, "ATTEMPTS", 1)
    state.reply = lambda _: (200, said('{"score": 40}')) if len(state.asked) <= 10 else (500, b"")
    rubric = setting("judge", f"{{model: m, endpoint: '{url}', rubric: Warmth.}}")
    _, found = harvest(spec(made, rubric), first.parent, device="cpu")
    assert [d.code for d in found] == ["T546"]
    assert "10 answers were judged" in next(iter(found)).notes[0]
    state.reply = lambda _: (200, said('{"score": 40}'))
    state.asked.clear()
    folder = done(made, first.parent, rubric)
    _, answers = sampled(folder, made, rubric)
    assert len(state.asked) == sum(a.score is not None for a in answers) - 10
    state.asked.clear()
    done(made, first.parent, rubric)
    assert state.asked == []


def slow(_: str) -> tuple[int, bytes]:
    time.sleep(0.4)
    return 200, said('{"score": 50}')


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda _: (200, b"<html>"), "gave no score for the first 5 answers"),
        (lambda _: (200, said("I would say ninety.")), "gave no score for the first 5 answers"),
        (lambda _: (200, said('{"score": 101}')), "gave no score for the first 5 answers"),
        (lambda _: (422, b""), "gave no score for the first 5 answers"),
        (lambda _: (401, b""), "HTTP status 401"),
        (slow, "timed out"),
    ],
)
def test_a_judge_that_fails_is_a_finding(
    made: Path, first: Path, judge: tuple[Judge, str], monkeypatch: pytest.MonkeyPatch,
    reply: Callable[[str], tuple[int, bytes]], says: str,
) -> None:  # fmt: skip
    """No traceback, no set, the place in the spec, and what the endpoint did."""
    state, url = judge
    state.reply = reply
    monkeypatch.setattr(endpoint, "TIMEOUT", 0.2 if reply is slow else 30)
    # a rubric of its own, so that no verdict of another test is at hand
    asked = setting("judge", f"{{model: m, endpoint: '{url}', rubric: {says}}}")
    folder, found = harvest(spec(made, asked), first.parent, device="cpu")
    assert folder is None
    assert refusal(found) == "T546"
    assert says in next(iter(found)).primary.text


@pytest.mark.parametrize("mine", [False, True])
def test_the_key_goes_to_a_judge_of_the_command_line(
    made: Path, first: Path, judge: tuple[Judge, str], monkeypatch: pytest.MonkeyPatch, mine: bool
) -> None:
    """An endpoint that a file names is asked without the key; one that `--set` names is the user's own."""
    state, url = judge
    monkeypatch.setenv("TILTC_JUDGE_KEY", "s3cret")
    monkeypatch.delenv("TILTC_JUDGE", raising=False)
    named = f"      judge: {{model: m, endpoint: '{url}', rubric: Key {mine}.}}\nsignals:"
    (made / "judged.yaml").write_text(SPEC.replace("signals:", named), encoding="utf-8")
    spec_file, _ = parse(str(made / "judged.yaml"), [setting("judge.endpoint", url)] if mine else [])
    assert spec_file is not None
    harvest(only_own(spec_file), first.parent, device="cpu")
    assert set(state.keys) == {"Bearer s3cret" if mine else None}


def test_nobody_to_ask(made: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint in spec or environment there is no harvest, nor with one where nobody listens."""
    asked = setting("judge", "{model: nobody}")
    monkeypatch.delenv("TILTC_JUDGE", raising=False)
    _, found = harvest(spec(made, asked), first.parent, device="cpu")
    assert refusal(found) == "T546"
    assert "no endpoint" in next(iter(found)).primary.text
    monkeypatch.setenv("TILTC_JUDGE", "http://127.0.0.1:9/v1")
    _, found = harvest(spec(made, asked), first.parent, device="cpu")
    assert refusal(found) == "T546"
    assert "refused" in next(iter(found)).primary.text


def refusal(found: Diagnostics) -> str:
    """The only finding's code; it has a place."""
    (one,) = found
    assert one.primary.span is not None
    return one.code


# compiling


@pytest.mark.parametrize("line", ["{prompt: 3}", '{"question": "Why?"}', "[", '{"prompt": " "}', ""])
def test_questions_that_cannot_be_read(made: Path, tmp_path: Path, line: str) -> None:
    """A bad file of questions is a finding of harvest; for compile the set is simply not there."""
    (made / "bad.jsonl").write_text(line + "\n", encoding="utf-8")
    folder, found = harvest(spec(made, setting("questions", "bad.jsonl")), tmp_path, device="cpu")
    assert folder is None
    assert refusal(found) == "T547"


def run(*arguments: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    code = main(list(arguments), out, err)
    return code, out.getvalue() + err.getvalue()


@pytest.mark.parametrize("how", ["reward", "steer"])
def test_from_spec_to_plan(made: Path, first: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contrast is harvested and compiled, by its direction; twice the same bytes; another prompt is refused as stale. A
    direction that is no better than chance, as a random model's are, is refused."""
    path, store, plan = made / "steered.yaml", first.parent, tmp_path / "plan"
    wide = "budget: {drop: 100%, effective_sample: 0%}\n"
    path.write_text(
        SPEC + f"    readout: direction\n    with: {how}\n    to: 50%\n    within: 10%\n{wide}", encoding="utf-8"
    )
    flags = ("--store", str(store))
    spec_file, _ = parse(str(path))
    assert spec_file is not None
    assert harvest(only_own(spec_file), store, device="cpu")[0] is not None
    code, text = run("compile", str(path), "-o", str(plan), *flags)
    assert code == 1
    assert "the direction of `kind` does not detect it" in text
    assert "read some of the answers" in text
    monkeypatch.setattr("tiltc.resolve.LEAST_AUROC", 0.0)
    code, text = run("compile", str(path), "-o", str(plan), *flags)
    assert code == 0, text
    loaded, found = read_plan(plan)
    assert loaded is not None, list(found)
    concept = next(c for c in loaded.plan.concepts if c.name == "kind")
    key = recipe_of(spec(made).library["kind"]).key
    manifest = json.loads((first / "sampled" / key / "manifest.json").read_text("utf-8"))
    assert loaded.plan.pins.contrasts == {"kind": manifest["contrast"]}
    assert concept.contrast == manifest["contrast"]
    assert concept.readout == "direction"
    assert loaded.plan.actions[0].mechanism == how
    before = {f.name: f.read_bytes() for f in plan.iterdir()}
    assert run("compile", str(path), "-o", str(plan), *flags)[0] == 0
    assert {f.name: f.read_bytes() for f in plan.iterdir()} == before
    code, text = run("compile", str(path), "-o", str(plan), "--set", setting("positive", "Be nice."), *flags)
    assert code == 1
    assert "T209" in text


def test_the_direction_is_the_difference_of_means(made: Path, first: Path) -> None:
    """What steers and reads is the mean residual of positive answers minus that of negative ones, on half of the questions."""
    from tiltc.derived import Derived
    from tiltc.resolve.fitting import labelled
    from tiltc.resolve.tools import vector_of
    from tiltc.resolve.world import read_world

    manifest, _ = sampled(first, made)
    world, definition = read_world(opened(first), Derived(None)), spec(made).library["kind"]
    contrast, texts = world.evidence.contrast(manifest.contrast), labelled(world, definition)
    assert contrast is not None
    assert texts is not None
    pairs = np.array(contrast.table.column("pair").to_pylist())
    assert set(pairs[texts.half]).isdisjoint(pairs[~texts.half])
    assert len(set(pairs[texts.half])) == len(QUESTIONS) // 2
    means = [contrast.residuals()[texts.half & (contrast.labels == side)].mean(0) for side in (0, 1)]
    vector = vector_of(world, definition, "direction")
    assert vector is not None
    np.testing.assert_allclose(vector, means[1] - means[0], rtol=1e-4, atol=1e-5)
