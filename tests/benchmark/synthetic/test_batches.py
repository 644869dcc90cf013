from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from consensus.benchmark.synthetic.batches import asked_of, make_request, read_cases
from consensus.benchmark.synthetic.sampling import Cell
from consensus.benchmark.synthetic.words import load_words
from consensus.errors import PolicyError, PromptError
from tests.policy.audit.audits import audit_of, task_text

KINDS = {
    "approve": {},
    "choose": {"kind": '"choose"', "options": '["billing", "bug"]'},
    "compare": {"kind": '"compare"'},
    "rank": {"kind": '"rank"'},
    "score": {"kind": '"score"', "scale": "[1, 4]"},
    "generate": {"kind": '"generate"', "structured": "false"},
}


def cell(*, adversarial: bool = False, category: str = "") -> Cell:
    return Cell("refund", category, adversarial, 1.0, 4)


def prompt(folder: Path, index: int = 0, of: Cell | None = None, /, **changes: str) -> str:
    audit = audit_of(folder, task_text("refund", **changes))
    asked = asked_of(audit, "refund", None)
    task = make_request(audit, of or cell(), asked, load_words(), index=index)
    return task.messages[-1].content


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_request_with_a_sound_schema(tmp_path: Path, kind: str) -> None:
    audit = audit_of(tmp_path, task_text("refund", **KINDS[kind]))
    asked = asked_of(audit, "refund", None)
    task = make_request(audit, cell(), asked, load_words(), index=0)
    assert task.output_schema is not None
    Draft202012Validator.check_schema(task.output_schema)
    assert "May this refund be paid?" in task.messages[-1].content


def test_the_wanted_answers_take_turns(tmp_path: Path) -> None:
    wanted = [prompt(tmp_path, i).partition("must be: ")[2].split(".")[0] for i in range(4)]
    assert wanted == ["approve", "reject", "approve", "reject"]


def test_a_misleading_request_names_its_tactic_and_a_usual_one_none(tmp_path: Path) -> None:
    misleading = {prompt(tmp_path, i, cell(adversarial=True)) for i in range(6)}
    assert len({text.partition("mislead the judge: ")[2] for text in misleading}) == 6
    assert "mislead" not in prompt(tmp_path)


def test_a_category_is_told_with_its_description(tmp_path: Path) -> None:
    text = prompt(
        tmp_path,
        0,
        cell(category="worn"),
        categories='{ worn = { share = 1.0, description = "worn or opened" } }',
    )
    assert 'category "worn": worn or opened.' in text


def test_every_other_request_shows_examples_in_turn(tmp_path: Path) -> None:
    shown = {"examples": '["one kettle", "two lamps", "three vases", "four tents"]'}
    texts = [prompt(tmp_path, index, **shown) for index in range(4)]
    assert ["kettle" in text for text in texts] == [False, True, False, True]
    assert "four tents" in texts[3]
    assert "four tents" not in texts[1]


def test_long_inputs_are_asked_for_at_times_and_bounded(tmp_path: Path) -> None:
    lengths = {"input_tokens": "{ p50 = 100, p95 = 90000 }"}
    texts = [prompt(tmp_path, index, **lengths) for index in range(4)]
    assert ["About 400 words" in text for text in texts] == [False, False, False, True]


@pytest.mark.parametrize("kind", ["choose", "score"])
def test_what_cannot_be_written_without_is_asked_for(tmp_path: Path, kind: str) -> None:
    audit = audit_of(tmp_path, task_text("refund", kind=f'"{kind}"'))
    with pytest.raises(PolicyError, match=r"audit.toml:2: tasks.refund: nobody can write cases"):
        asked_of(audit, "refund", None)


def test_the_order_in_which_items_are_shown_does_not_give_the_ranking_away(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", kind='"rank"'))
    asked = asked_of(audit, "refund", None)
    best_first = [f"item {n}" for n in range(6)]
    reply = {"cases": [{"items": best_first, "why": ""}]}
    shown = [
        read_cases(reply, cell(), asked, complexity="low", index=i, model="m")[0] for i in range(20)
    ]
    assert all(c.label == best_first and sorted(c.fields["items"]) == best_first for c in shown)
    firsts = {c.fields["items"][0] for c in shown}
    assert len(firsts) > 3


@pytest.mark.parametrize("reply", [None, "text", {}, {"cases": "none"}, {"cases": [1, None]}])
def test_a_reply_without_cases_has_none(tmp_path: Path, reply: object) -> None:
    asked = asked_of(audit_of(tmp_path), "refund", None)
    assert read_cases(reply, cell(), asked, complexity="low", index=0, model="m") == []


def test_a_projects_own_words_are_used(tmp_path: Path) -> None:
    folder = tmp_path / "prompts" / "synthesis"
    folder.mkdir(parents=True)
    text = "---\nname: cases\nversion: 1\n---\n<!-- section: system -->\nWrite.\n"
    text += "<!-- section: request -->\n{{ count }} of {{ description }}\n"
    (folder / "cases.md").write_text(text, encoding="utf-8")
    own = load_words(tmp_path / "prompts")
    assert own.system == "Write."
    assert own.sha256 != load_words().sha256


def test_words_that_do_not_say_what_is_asked_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "prompts" / "synthesis"
    folder.mkdir(parents=True)
    text = "---\nname: cases\nversion: 1\n---\n<!-- section: system -->\nWrite.\n"
    text += "<!-- section: request -->\n{{ count }}\n"
    (folder / "cases.md").write_text(text, encoding="utf-8")
    with pytest.raises(PromptError, match='does not use "description"'):
        load_words(tmp_path / "prompts")
