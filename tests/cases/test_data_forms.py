"""Rows in the forms that trainers and hub sets have are read for what they are, and what is guessed is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cases.shout import shouting_rows, shouting_texts
from tests.worlds import SPEC, make_world
from tiltc.data.kinds import Scan
from tiltc.detectors import has_detector, shows
from tiltc.pairs import Pair, Taken, Wish, take
from tiltc.std import FAMILIES, concepts

Row = dict[str, Any]
USER, YES, NO = (
    {"role": "user", "content": "Is it?"},
    {"role": "assistant", "content": "Yes, it is."},
    {"role": "assistant", "content": "No."},
)
SYSTEM = {"role": "system", "content": "Be brief."}
SHAREGPT = [{"from": "human", "value": "Is it?"}]

#: the same pair as other tools write it down
FORMS: dict[str, Row] = {
    "trl": {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    "trl, prompt implied": {"chosen": [USER, YES], "rejected": [USER, NO]},
    "ultrafeedback": {"prompt": "Is it?", "chosen": [USER, YES], "rejected": [USER, NO], "messages": [USER, YES]},
    "llama-factory, alpaca": {"instruction": "Is it?", "input": "", "chosen": "Yes, it is.", "rejected": "No."},
    "llama-factory, sharegpt": {
        "conversations": SHAREGPT,
        "chosen": {"from": "gpt", "value": "Yes, it is."},
        "rejected": {"from": "gpt", "value": "No."},
    },
    "axolotl, chat_template": {"messages": [USER], "chosen": YES, "rejected": NO},
    "ms-swift": {"messages": [USER, YES], "rejected_response": "No."},
    "ms-swift, query": {"query": "Is it?", "response": "Yes, it is.", "rejected_response": "No."},
    "ms-swift, messages": {"messages": [USER, YES], "rejected_messages": [USER, NO]},
    "orca": {"system": "", "question": "Is it?", "chosen": "Yes, it is.", "rejected": "No."},
    "argilla": {"input": "Is it?", "chosen_response": "Yes, it is.", "rejected_response": "No.", "system": None},
    "stack exchange": {"question": "Is it?", "response_j": "Yes, it is.", "response_k": "No."},
    "roles of sharegpt": {
        "prompt": [{"role": "human", "content": "Is it?"}],
        "chosen": [{"role": "gpt", "content": "Yes, it is."}],
        "rejected": [{"role": "GPT", "content": "No."}],
    },
    "columns of messages": {
        "prompt": {"role": ["user"], "content": ["Is it?"]},
        "chosen": {"role": ["assistant"], "content": ["Yes, it is."]},
        "rejected": {"role": ["assistant"], "content": ["No."]},
    },
    "parts of text": {
        "prompt": [{"role": "user", "content": [{"type": "text", "text": "Is "}, {"type": "text", "text": "it?"}]}],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "Yes, it is."}]}],
        "rejected": [NO],
    },
    "messages as text": {
        "prompt": '[{"role": "user", "content": "Is it?"}]',
        "chosen": '[{"role": "assistant", "content": "Yes, it is."}]',
        "rejected": '[{"role": "assistant", "content": "No."}]',
    },
    "prompt again in the responses": {"prompt": [USER], "chosen": [USER, YES], "rejected": [USER, NO]},
}


def taken(rows: list[Row], wish: Wish | None = None) -> Taken:
    got, found = take(Scan.of(rows), "a.jsonl", wish)
    assert got is not None, list(found)
    return got


def said(rows: list[Row], wish: Wish | None = None) -> list[str]:
    return [d.code for d in take(Scan.of(rows), "a.jsonl", wish)[1]]


def one(row: Row, **columns: str) -> Pair:
    return taken([row], Wish(columns=columns)).pairs[0]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_pair_in_every_form(form: str) -> None:
    """The form that a pair is written in decides neither what is read nor its id, and nothing is said of it."""
    pair = one(FORMS[form])
    assert (pair.prompt, pair.chosen, pair.rejected) == ((USER,), (YES,), (NO,))
    assert pair.row_id == one(FORMS["trl"]).row_id
    assert said([FORMS[form]]) == []


WHOLE: dict[str, tuple[Row, list[Row]]] = {
    "system beside it": ({"system": "Be brief.", "question": "Is it?"}, [USER]),
    "a line break": ({"instruction": "Is it?\n", "system": "Be brief."}, [USER]),
    "system within": ({"input": "Is it?", "system": "Be long."}, [SYSTEM, USER]),
    "the last question of several": ({"query": "Is it?", "system": "Be brief."}, [SYSTEM, USER, NO, USER]),
}


@pytest.mark.parametrize("how", WHOLE)
@pytest.mark.parametrize("kept", [list, json.dumps])
def test_whole_conversations_beside_their_question(how: str, kept: Any) -> None:
    """Responses that hold the conversation are not asked once more by the column of its question; `system` goes in front."""
    beside, turns = WHOLE[how]
    row = {**beside, "chosen": kept([*turns, YES]), "rejected": kept([*turns, NO])}
    pair = one(row)
    assert list(pair.prompt) == [SYSTEM, *(turn for turn in turns if turn != SYSTEM)]
    assert (pair.chosen, pair.rejected) == ((YES,), (NO,))
    assert said([row]) == []


def test_nothing_is_asked_twice() -> None:
    """A row whose responses ask behind a prompt that has asked is refused by its number, however few there are."""
    good = {"prompt": [USER], "chosen": [YES], "rejected": [NO]}
    for prompt, turns in (([USER], [SYSTEM, USER]), ([SYSTEM, USER], [USER])):
        twice = {"prompt": prompt, "chosen": [*turns, YES], "rejected": [*turns, NO]}
        got, found = take(Scan.of([good, good, twice, good]), "a.jsonl")
        assert got is None
        assert [(d.code, d.notes) for d in found] == [
            ("T516", ("row 3: the prompt has asked, and a response asks again",))
        ]
        assert taken([good, good, twice, good], Wish(skip=1)).numbers == [1, 2, 4]
    repeated = {"prompt": [USER], "chosen": [USER, YES], "rejected": [USER, NO]}
    assert said([good, good, repeated]) == ["T516"]


def test_a_prompt_ends_before_its_answer() -> None:
    """A conversation that ends with a response of its row is asked without it, and one that ends otherwise is refused."""
    for column in ("messages", "conversation", "input"):
        for last in (YES, NO, {**YES, "content": "Yes, it is.\n"}):
            for chosen, rejected in (("Yes, it is.", "No."), ([YES], [NO])):
                assert one({column: [USER, last], "chosen": chosen, "rejected": rejected}).prompt == (USER,)
        row = {column: [USER, {**YES, "content": "Who knows."}], "chosen": "Yes, it is.", "rejected": "No."}
        assert said([row]) == ["T516"]
    tool = {"role": "tool", "content": "1"}
    answers = {"chosen": [YES, tool, YES], "rejected": [YES, tool, NO]}
    greeted = {"chosen": [NO, USER, YES], "rejected": [NO, USER, NO], "messages": [NO, USER, YES]}
    assert one(greeted).prompt == (NO, USER)
    assert one({"messages": [USER], **answers}).row_id == one({"prompt": [USER], **answers}).row_id


def test_system_prompts_and_histories() -> None:
    """What comes before the question is part of the prompt, where the form has it."""
    turns = [SYSTEM, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}, USER]
    row = {
        "system": "Be brief.",
        "history": [["Hi", "Ho"]],
        "instruction": "Is it?",
        "chosen": "Yes.",
        "rejected": "No.",
    }
    assert list(one(row).prompt) == turns
    swift = {
        "system": "Be brief.",
        "history": [["Hi", "Ho"]],
        "query": "Is it?",
        "response": "Yes.",
        "rejected_response": "No.",
    }
    assert list(one(swift).prompt) == turns
    assert one({"instruction": "Add.", "input": "1 2", "chosen": "3", "rejected": "4"}).prompt == (
        {"role": "user", "content": "Add.\n1 2"},
    )  # fmt: skip


SINGLES: dict[str, Row] = {
    "messages": {"messages": [USER, YES]},
    "sharegpt": {"conversations": [*SHAREGPT, {"from": "gpt", "value": "Yes, it is."}]},
    "alpaca": {"instruction": "Is it?", "input": "", "output": "Yes, it is."},
    "query": {"query": "Is it?", "response": "Yes, it is."},
    "kto": {"prompt": [USER], "completion": [YES], "label": True},
    "llama-factory kto": {"instruction": "Is it?", "input": "", "output": "Yes, it is.", "kto_tag": True},
    "ms-swift kto": {"messages": [USER, YES], "label": 1},
}


@pytest.mark.parametrize("form", SINGLES)
def test_single_responses_in_every_form(form: str) -> None:
    """So are single responses."""
    pair = one(SINGLES[form])
    assert (pair.prompt, pair.chosen, pair.status) == ((USER,), (YES,), "single")


def test_labels_say_which_responses_are_wanted() -> None:
    """KTO's label, as a value or as text: an unwanted response is on the rejected side; other labels are not read."""
    rows = [
        {"prompt": f"{i}?", "completion": "Yes.", "label": label} for i, label in enumerate((True, False, "false", 1))
    ]
    got = taken(rows)
    assert [pair.status for pair in got.pairs] == ["single", "unwanted", "unwanted", "single"]
    assert "2 wanted, 2 unwanted" in got.line
    assert got.pairs[1].rejected == "Yes."
    other = taken(
        [{"prompt": "a?", "completion": "b", "label": "sports"}, {"prompt": "c?", "completion": "d", "label": "art"}]
    )
    assert [pair.status for pair in other.pairs] == ["single", "single"]
    assert "not read: `label`" in other.line


def test_margins_are_read() -> None:
    """A margin that is missing in some rows is said. A row with another margin is another row; one of 0 is none."""
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert one({**row, "margin": 2}).margin == 2.0
    assert one({**row, "margin": 2}).row_id != one({**row, "margin": 3}).row_id != one(row).row_id
    assert one({**row, "margin": 0}).row_id == one(row).row_id
    assert said([{**row, "margin": 2}, {**row, "margin": float("nan")}]) == ["T554"]


def test_a_prompt_is_cut_at_the_last_turn() -> None:
    """Whatever writes the turns, the prompt ends where the last one of the assistant begins, and says so."""
    for marker, text in {
        "Assistant:": "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: Is it?\n\nAssistant:",
        "<|im_start|>assistant": "<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\n",
        "[/INST]": "[INST] Is it? [/INST]",
        "### Response:": "### Instruction:\nIs it?\n\n### Response:\n",
        "<|start_header_id|>assistant<|end_header_id|>": "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<start_of_turn>model": "<start_of_turn>user\nIs it?<end_of_turn>\n<start_of_turn>model\n",
    }.items():
        got = taken([{"chosen": f"{text}Great, yes", "rejected": f"{text}Great, no"}])
        pair = got.pairs[0]
        assert (pair.prompt, pair.chosen, pair.rejected) == (text, "Great, yes", "Great, no")
        assert f"cut at `{marker}` in 1" in got.line


def test_a_dialogue_within_the_question_marks_nothing() -> None:
    """A transcript in the question has turns of its own; where the answer has no marker the prompt is a guess, and said."""
    asked = "Continue.\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: Is it?\n\n"
    row = {"chosen": f"{asked}Yes.", "rejected": f"{asked}No."}
    assert (one(row).prompt, one(row).chosen) == (asked, "Yes.")
    assert said([row]) == ["T551"]
    earlier = {"chosen": f"{asked[:-7]}it?\n\nAssistant: Yes.", "rejected": f"{asked[:-7]}he?\n\nAssistant: No."}
    assert one(earlier).prompt == "Continue.\n\nHuman: Hi\n\nAssistant:"
    assert said([earlier]) == []


def test_no_word_is_cut() -> None:
    """Without a turn to cut at, the shared beginning ends at a whole word, and a finding says that it is a guess."""
    for chosen, rejected, prompt in [
        ("Is it? Great!", "Is it? Good.", "Is it?"),
        ("It's fine", "It's final", "It's"),
        ("naïve", "naïveté", ""),
        ("yes", "yes and no", ""),
        ("Sky? blue", "Sky? blue", "Sky?"),
        ("天是什么？蓝的", "天是什么？蓝色", "天是什么？蓝"),
    ]:
        row = {"chosen": chosen, "rejected": rejected}
        pair = one(row)
        assert pair.prompt == prompt
        assert (f"{prompt}{pair.chosen}", f"{prompt}{pair.rejected}") == (chosen, rejected)
        assert said([row]) == ["T551"]


def test_no_prompt_beside_a_column_that_asks() -> None:
    """Guessed prompts that are empty, and given ones, are an error where a column that is not read could be the prompt."""
    rows = [{"task": f"Write a poem about {i}.", "chosen": f"Ode {i}", "rejected": f"No {i}"} for i in range(4)]
    got, found = take(Scan.of(rows), "a.jsonl")
    assert got is None
    assert [d.code for d in found] == ["T550"]
    assert "columns: {prompt: task}" in next(iter(found)).helps[0]
    assert said([{**row, "prompt": "", "question": row["task"]} for row in rows]) == ["T550"]
    assert one(rows[0], prompt="task").prompt == "Write a poem about 0."
    assert said([{k: v for k, v in row.items() if k != "task"} for row in rows]) == ["T551"]


def test_short_and_empty_prompts_may_be_meant() -> None:
    """Data that has its prompts is refused for no other column: short ones are prompts, and empty ones are said."""
    poem = {"prompt": "", "completion": "Ode.", "title": "the name of the poem"}
    assert said([poem] * 3) == ["T554"]
    sums = {"source": "grade school maths set", "chosen": "2", "rejected": "3"}
    assert said([{**sums, "prompt": "1+1"}] * 3) == []
    assert said([{**sums, "question": "1+1"}] * 3) == []
    two, three = {**YES, "content": "2"}, {**NO, "content": "3"}
    one_one = {**USER, "content": "1+1"}
    assert said([{"source": sums["source"], "chosen": [one_one, two], "rejected": [one_one, three]}] * 3) == []
    unread = {**sums, "prompt": "", "question": "What is one and one?"}
    assert said([unread] * 3) == ["T550"]
    assert said([unread] * 3, Wish({"prompt": "prompt"})) == ["T554"]
    assert said([{**unread, "prompt": "-"}] * 3) == ["T554"]


def test_messages_that_python_printed_are_no_text() -> None:
    """CSV of message lists, as pandas and numpy write it, is refused in every form; one such answer among others is text."""
    lists = {"chosen": str([USER, YES]), "rejected": str([USER, NO])}
    arrays = {side: text.replace("}, {", "}\n {") for side, text in lists.items()}
    for row in (
        lists,
        {"prompt": "Is it?", **lists},
        {"question": "Is it?", **arrays},
        {"prompt": str([USER]), "chosen": "Yes.", "rejected": "No."},
        {"instruction": "Is it?", "chosen": str(YES), "rejected": str(NO)},
        {"prompt": "Is it?", "completion": str([YES]), "label": True},
        {"messages": str([USER, YES])},
    ):
        got, found = take(Scan.of([row] * 3), "a.csv")
        assert got is None
        assert [d.code for d in found] == ["T516"]
        assert "as Python prints it" in next(iter(found)).notes[0]
    plain = {"prompt": "Write it.", "chosen": "Yes.", "rejected": "No."}
    assert taken([plain, plain, {**plain, **lists}]).pairs[2].chosen == lists["chosen"]


def test_a_label_that_is_not_read_is_said() -> None:
    """Labels of other words or numbers wait for somebody to say what they mean, and don't pass for wanted in silence."""
    for labels in ((1, -1), ("good", "bad"), (3.5, 2)):
        rows = [{"prompt": f"{i}?", "completion": "b", "label": label} for i, label in enumerate(labels * 3)]
        got, found = take(Scan.of(rows), "a.jsonl")
        assert got is not None
        assert "not read: `label`" in got.line
        assert [d.code for d in found] == ["T554"]
    tagged = {"instruction": "Is it?", "output": "Yes.", "kto_tag": "up"}
    assert said([tagged, tagged]) == ["T554"]
    assert said([{"prompt": "a?", "completion": "b", "label": True}]) == []


def test_columns_by_hand() -> None:
    """`columns:` maps any name; a column that is not there is an error that lists those that are."""
    row = {"Prompt": "a", "good": "b", "bad": "c", "how": "Be brief."}
    pair = one(row, prompt="Prompt", chosen="good", rejected="bad")
    assert (pair.prompt, pair.chosen, pair.rejected) == ("a", "b", "c")
    told = one(row, prompt="Prompt", chosen="good", rejected="bad", system="how")
    assert told.prompt == (SYSTEM, {"role": "user", "content": "a"})
    assert said([row], Wish({"prompt": "promt"})) == ["T515"]
    got, found = take(Scan.of([{"Prompt": "a", "Chosen": "b", "Rejected": "c"}]), "a.jsonl")
    assert got is None
    assert "columns: {chosen: Chosen, rejected: Rejected, prompt: Prompt}" in next(iter(found)).helps[0]


def test_a_system_prompt_that_is_not_read_is_said() -> None:
    """Beside a `prompt`, some trainers read `system` and others don't."""
    row = {"system": "Be brief.", "prompt": "Is it?", "chosen": "Yes.", "rejected": "No."}
    assert said([row]) == ["T554"]
    assert one(row).prompt == "Is it?"


def test_prompts_repeated_in_responses() -> None:
    """Taken off where all responses repeat them, refused with the count where many do, left where few do."""
    again = [{"prompt": f"Say {i}!", "chosen": f"Say {i}! Yes.", "rejected": f"Say {i}! No."} for i in range(4)]
    assert [pair.chosen for pair in taken(again).pairs] == [" Yes."] * 4
    plain = [{"prompt": f"Tell {i}!", "chosen": "Yes.", "rejected": "No."} for i in range(4)]
    got, found = take(Scan.of([*again, *plain[:1]]), "a.jsonl")
    assert got is None
    assert [d.code for d in found] == ["T552"]
    assert "4 of 5" in next(iter(found)).primary.text
    assert taken([again[0], *plain]).pairs[0].chosen == "Say 0! Yes."


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    """They are an error with a help, or as many as the spec allows are left out, and the rest is what it is alone."""
    good = [{"prompt": f"{i}?", "chosen": "Yes.", "rejected": "No."} for i in range(9)]
    bad: list[Row] = [{"prompt": "x", "chosen": None, "rejected": "No."}]
    got, found = take(Scan.of([*good[:4], *bad, *good[4:]]), "a.jsonl")
    assert got is None
    assert "skip: 1" in next(iter(found)).helps[0]
    for skip in (1, 0.1):
        got, found = take(Scan.of([*good[:4], *bad, *good[4:]]), "a.jsonl", Wish(skip=skip))
        assert got is not None
        assert [d.code for d in found] == ["T553"]
        assert got.pairs == taken(good).pairs
        assert got.numbers == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert "1 rows left out" in got.line
    mixed = [*good, {"prompt": [USER], "chosen": [YES], "rejected": [NO]}]
    assert said(mixed) == ["T517"]
    assert said(mixed, Wish(skip=1)) == ["T553"]


@pytest.mark.parametrize(
    ("column", "value", "template"),
    [
        ("tools", "", {}),
        ("tools", [], {}),
        ("tools", '[{"type": "function"}]', {"tools": [{"type": "function"}]}),
        ("tools", {"type": "function"}, {"tools": [{"type": "function"}]}),
        ("chat_template_kwargs", '{"enable_thinking": false}', {"enable_thinking": False}),
        ("chat_template_kwargs", "", {}),
        ("tools", "[{'type': 'function'}]", None),
        ("tools", ["search"], None),
        ("tools", "[" * 5000, None),
        ("tools", [{"x": float("nan")}], None),
        ("tools", [{"x": "\ud800"}], None),
        ("chat_template_kwargs", "thinking", None),
        ("chat_template_kwargs", [1], None),
        ("chat_template_kwargs", {"tokenize": False}, None),
    ],
)
def test_what_goes_to_the_template(column: str, value: object, template: Row | None) -> None:
    """`tools` and `chat_template_kwargs` are values or their JSON text; else the row and the column are named."""
    row = {"prompt": [USER], "chosen": [YES], "rejected": [NO], column: value}
    if template is not None:
        assert one(row).template == template
        return
    got, found = take(Scan.of([row]), "a.jsonl")
    assert got is None
    assert next(iter(found)).notes[0].startswith(f"row 1: `{column}` ")


KTO = SPEC.replace("epochs: 1", "epochs: 1, method: kto")


def labelled() -> list[Row]:
    texts = shouting_texts()
    return [{"prompt": p, "completion": (c, r)[i % 2], "label": i % 2 == 0} for i, (p, c, r) in enumerate(texts)]


def test_labelled_rows_work_for_kto(tmp_path: Path) -> None:
    """Data of {prompt, completion, label} is harvested, compiled and trained on, and its responses keep their sides."""
    world = make_world(tmp_path, labelled(), spec=KTO)
    harvested = world.tiltc("harvest", "spec.yaml")
    assert harvested.code == 0, harvested.out + harvested.err
    assert "single responses with `label`" in harvested.err
    compiled = world.tiltc("compile", "spec.yaml", "-o", "plan")
    assert compiled.code == 0, compiled.out + compiled.err
    # six of twelve on either side, of which no row has both
    assert "in 50.0% of chosen and 50.0% of rejected responses" in compiled.out
    ran = world.tiltc("run", "plan", "-o", "run")
    assert ran.code == 0, ran.out + ran.err


def test_labelled_rows_are_said_for_other_methods(tmp_path: Path) -> None:
    """DPO has nothing to learn from them, and the finding says what they are and what would."""
    world = make_world(tmp_path, labelled())
    assert world.tiltc("harvest", "spec.yaml").code == 0
    compiled = world.tiltc("compile", "spec.yaml", "-o", "plan")
    assert compiled.codes == ["T210"]
    assert "single responses" in compiled.out
    assert "method: kto" in compiled.out


def test_the_reward_model_reads_the_margins_of_the_data(tmp_path: Path) -> None:
    """Margins of the data reach the loss of a reward model beside the plan's."""
    from datasets import Dataset

    from tiltc_runtime.methods.reward import reward_rows

    rows = Dataset.from_list(
        [
            {"row_id": str(i), "prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3], "margin_offset": 0.5}
            for i in range(3)
        ]
    )
    assert reward_rows(rows, {"0": 2.0, "2": 1.0})["margin"] == [1.5, -0.5, 0.5]
    assert reward_rows(rows.remove_columns("margin_offset"), {"0": 2.0})["margin"] == [2.0, 0.0, 0.0]
    assert "margin" not in reward_rows(rows.remove_columns("margin_offset")).column_names


def test_implied_prompts_are_those_that_were_given(tmp_path: Path) -> None:
    """The same texts with and without a prompt have the same rows, and so the same ids and rates."""
    explicit = [
        {"prompt": f"\n\nHuman: {p}\n\nAssistant:", "chosen": f" Great! {c}", "rejected": f" Good. {r}"}
        for p, c, r in shouting_texts()
    ]
    implied = [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in explicit]
    assert taken(implied).pairs == taken(explicit).pairs


def test_rows_left_out_stay_out(tmp_path: Path) -> None:
    """What the spec allows to be left out is in no evidence, plan or export, and the rest is exported as it was."""
    rows: list[Row] = list(shouting_rows())
    rows.insert(3, {"prompt": None, "chosen": 3, "rejected": []})
    spec = SPEC.replace("./{data}", "{{file: ./{data}, skip: 5%}}")
    world = make_world(tmp_path, rows, spec=spec)
    world.write("pairs.jsonl", (tmp_path / "pairs.jsonl").read_text() + "{broken\n")
    assert world.tiltc("harvest", "spec.yaml").codes == ["T516"]
    world.write("spec.yaml", (tmp_path / "spec.yaml").read_text().replace("5%", "10%"))
    harvested = world.tiltc("harvest", "spec.yaml")
    assert (harvested.code, harvested.codes) == (0, ["T553"]), harvested.out
    assert "2 rows left out" in harvested.err
    assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
    exported = world.tiltc("export", "plan", "-o", "out.jsonl")
    assert exported.code == 0, exported.out + exported.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{k: line[k] for k in ("prompt", "chosen", "rejected")} for line in lines] == shouting_rows()


@pytest.mark.parametrize(
    "text",
    ["Sorry, no.", "Apologies, no.", "My mistake, no.", "Exactly right!", "Great question!", "### 🚨 Warning: hot."],
)
def test_a_space_before_a_response_changes_no_concept(text: str) -> None:
    """Responses in text begin with a space, and show the std concepts that the same messages show."""
    for family in FAMILIES:
        for name, concept in concepts(family).items():
            if has_detector(concept):
                assert shows(concept, text) == shows(concept, f" {text}"), name


def test_harvest_says_what_it_took(tmp_path: Path) -> None:
    """One line of harvest: the form, where prompts are from, columns of text that were not read."""
    rows = [{**row, "source": "here"} for row in shouting_rows()]
    said = make_world(tmp_path, rows).tiltc("harvest", "spec.yaml")
    line = next(line for line in said.err.splitlines() if "read as" in line)
    assert (
        line == f"harvest: pairs.jsonl: {len(rows)} rows read as pairs, messages; prompt: `prompt`; not read: `source`"
    )


def cut_from(rows: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[str], str]:
    """Prompts and chosen responses of texts that begin with their prompt, the codes, and the line."""
    taken, found = take(Scan.of([{"chosen": a, "rejected": b} for a, b in rows]), "p.jsonl")
    assert taken is not None, list(found)
    return [(str(p.prompt), str(p.chosen)) for p in taken.pairs], [d.code for d in found], taken.line


def test_the_first_of_several_choices_is_no_answer() -> None:
    """`A:` ends a prompt only behind a question that is marked as one, and not where `B:` follows."""
    choices = "Which planet is red?\nA: Mars\nB: Venus\n"
    for asked in (choices, "Question: " + choices):
        pairs, codes, _ = cut_from([(asked + "Surely Mars.", asked + "Venus it is.")] * 4)
        assert [prompt.strip() for prompt, _ in pairs] == [asked.strip()] * 4
        assert codes == ["T551"]
    pairs, codes, line = cut_from([("Q: Is it?\nA: It is.", "Q: Is it?\nA: It isn't.")] * 4)
    assert pairs == [("Q: Is it?\nA:", " It is.")] * 4
    assert codes == ["T551"]
    assert "cut at `A:`" in line


@pytest.mark.parametrize(
    "dialogue", ["Here it is:\n\nBot: hello", "Here:\n\nUser: hi\n\nBot: hello", "AI: I am\n\nAI: you"]
)
def test_a_dialogue_in_both_answers_belongs_to_the_answers(dialogue: str) -> None:
    """The prompt ends with the assistant's turn as the data set usually spells it, whatever the answers play."""
    asked = "\n\nHuman: Is it?\n\nAssistant:"
    plain = [(f"{asked} Yes {i}.", f"{asked} No {i}.") for i in range(5)]
    pairs, codes, _ = cut_from([*plain, (f"{asked} {dialogue}, friend.", f"{asked} {dialogue} there.")])
    assert pairs[-1] == (asked, f" {dialogue}, friend.")
    assert codes == []


def test_a_weak_marker_is_said() -> None:
    """Where nothing but `TL;DR:` marks the end of prompts, that is what the finding says."""
    taken, found = take(
        Scan.of([{"chosen": f"Post {i}.\nTL;DR: yes", "rejected": f"Post {i}.\nTL;DR: no"} for i in range(3)]),
        "p.jsonl",
    )
    assert taken is not None
    assert [d.primary.text for d in found] == ["3 of 3 prompts of p.jsonl are cut at `TL;DR:`"]


def test_prompts_that_were_taken_off_the_responses_are_said() -> None:
    """Of many rows too: the time is that of the rows, and not of their square."""
    rows = [{"prompt": f"Say {i}: ", "chosen": f"Say {i}: yes", "rejected": f"Say {i}: no"} for i in range(20_000)]
    taken, found = take(Scan.of(rows), "p.jsonl")
    assert taken is not None
    assert list(found) == []
    assert taken.pairs[-1].chosen == "yes"
    assert "taken off the responses of 20000, which began with it" in taken.line
