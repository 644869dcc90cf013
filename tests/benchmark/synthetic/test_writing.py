from __future__ import annotations

import json
from pathlib import Path

import pytest

from consensus.benchmark.synthetic.sieve import Sieve
from consensus.benchmark.synthetic.words import load_words
from consensus.benchmark.synthetic.writing import (
    MARGIN,
    estimate_writing,
    load_candidates,
)
from consensus.errors import DataError, PriceError
from consensus.models.prices import PriceBook
from consensus.models.scripted import Reply
from consensus.panel.book import load_prompts
from tests.benchmark.synthetic.writers import Writer, novel_case, small_plan, table_of, write
from tests.loopback.replies import Reply as LoopbackReply
from tests.loopback.server import LoopbackProvider
from tests.policy.audit.audits import audit_of, task_text

CATEGORIES = "{ unused = { share = 0.5 }, used = { share = 0.5 } }"


async def test_a_plan_is_filled_with_cases_that_all_differ(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    written = await write(audit, small_plan(audit), tmp_path, Writer())
    assert len(written.candidates) == 8
    assert written.short == {}
    texts = [each.text for each in written.candidates]
    assert all(Sieve(texts[:i]).refuses(text) is None for i, text in enumerate(texts))


async def test_what_is_written_is_kept_in_the_folder(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    written = await write(audit, small_plan(audit), tmp_path, Writer())
    assert load_candidates(tmp_path / "profiling") == written.candidates


async def test_the_same_command_again_asks_nothing_and_finds_the_same(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    plan = small_plan(audit)
    first = await write(audit, plan, tmp_path, Writer())
    again = Writer()
    second = await write(audit, plan, tmp_path, again)
    assert again.requests == []
    assert second.candidates == first.candidates
    assert second.spent_pico == first.spent_pico > 0


async def test_a_larger_plan_goes_on_where_the_smaller_ended(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    first = await write(audit, small_plan(audit, 8), tmp_path, Writer())
    writer = Writer(lambda number: novel_case(number + 100))
    more = await write(audit, small_plan(audit, 12), tmp_path, writer)
    assert more.candidates[:8] == first.candidates
    assert (len(more.candidates), len(writer.requests)) == (12, 1)


async def test_a_model_that_repeats_itself_is_given_up_and_counted(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    writer = Writer(lambda _: novel_case(1))
    written = await write(audit, small_plan(audit, 8), tmp_path, writer)
    assert len(written.candidates) == 1
    assert len(writer.requests) == MARGIN * 2
    assert written.refused["refund"]["duplicate"] == 4 * MARGIN * 2 - 1
    assert written.short == {"refund/all/usual": 7}


async def test_a_case_that_repeats_an_example_or_the_question_is_refused(tmp_path: Path) -> None:
    example = "Order of twelve days ago: a kettle, still sealed in its box."
    audit = audit_of(tmp_path, task_text("refund", examples=f'["{example}"]'))
    said = iter([example, "May this refund be paid?"] * 50)
    writer = Writer(lambda _: {"subject": next(said), "label": "approve", "why": ""})
    written = await write(audit, small_plan(audit, 4), tmp_path, writer)
    assert written.candidates == []


async def test_what_a_suite_holds_already_is_not_written_again(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    known = {"refund": [novel_case(0)["subject"]]}
    written = await write(audit, small_plan(audit, 4), tmp_path, Writer(), known=known)
    assert written.refused["refund"]["duplicate"] == 1
    assert len(written.candidates) == 4


async def test_two_strata_that_write_alike_keep_the_first(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", categories=CATEGORIES))
    numbers: dict[str, int] = {"unused": 0, "used": 0}

    def behaviour(request):  # type: ignore[no-untyped-def]
        name = "unused" if '"unused"' in request.turns[-1].text else "used"
        start = numbers[name]
        numbers[name] += 4
        return {"cases": [novel_case(start + i) for i in range(4)]}

    written = await write(audit, small_plan(audit, 8), tmp_path, behaviour)
    assert [each.category for each in written.candidates] == ["unused"] * 4
    assert written.short == {"refund/used/usual": 4}


async def test_later_requests_show_what_was_written(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    writer = Writer()
    await write(audit, small_plan(audit, 8), tmp_path, writer)
    first, second = writer.prompts
    assert "Already written" not in first
    assert novel_case(3)["subject"][:40] in second


async def test_replies_that_fail_are_counted_and_gone_past(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    good = Writer()
    calls = iter(range(100))

    def behaviour(request):  # type: ignore[no-untyped-def]
        return Reply(text="no JSON") if next(calls) < 2 else good(request)

    written = await write(audit, small_plan(audit, 4), tmp_path, behaviour)
    assert len(written.candidates) == 4
    assert sum(written.failed.values()) == 1


async def test_a_model_that_cannot_be_asked_halts_it(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    written = await write(audit, small_plan(audit), tmp_path, lambda _: Reply(failure="auth"))
    assert written.halted is not None
    assert not written.complete


async def test_the_cap_ends_it_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    plan = small_plan(audit)
    stopped = await write(audit, plan, tmp_path, Writer(), max_usd=0.000001)
    assert (stopped.over_budget, stopped.candidates) == (True, [])
    finished = await write(audit, plan, tmp_path, Writer(), max_usd=5.0)
    assert (finished.complete, len(finished.candidates)) == (True, 8)


async def test_an_unpriced_model_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    from consensus.benchmark.synthetic.writing import write_candidates

    table = table_of(tmp_path)
    with pytest.raises(PriceError):
        await write_candidates(
            audit,
            small_plan(audit),
            tmp_path / "x",
            model="openai/nobody-knows",
            table=table,
            prices=PriceBook(),
            book=load_prompts(None),
            words=load_words(),
        )
    assert not (tmp_path / "x").exists()


def test_the_estimate_counts_requests_and_money_and_asks_nothing(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    table = table_of(tmp_path)
    found = estimate_writing(
        audit,
        small_plan(audit, 10),
        model="scripted/a",
        table=table,
        prices=PriceBook(overrides=table.price_overrides()),
        book=load_prompts(None),
        words=load_words(),
    )
    (own,) = found.models
    assert (own.calls, own.wanted) == (3, 10)
    assert 0 < found.usd < found.worst_usd
    expected = (own.input_tokens * 1.0 + own.output_tokens * 5.0) / 1e6
    assert found.usd == pytest.approx(expected)


def test_a_folder_without_candidates_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"candidates.jsonl"):
        load_candidates(tmp_path)


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"])
async def test_real_clients_on_a_loopback_provider_write_and_are_billed_once(
    tmp_path: Path, loopback_env: LoopbackProvider, model: str
) -> None:
    numbers = iter(range(0, 400, 4))

    def answer(_: object) -> LoopbackReply:
        start = next(numbers)
        cases = {"cases": [novel_case(start + place) for place in range(4)]}
        return LoopbackReply(text=json.dumps(cases))

    loopback_env.set_script(answer)
    audit = audit_of(tmp_path)
    plan = small_plan(audit)
    table = table_of(tmp_path, "version = 1\n")
    for sent in (2, 0):
        written = await write(audit, plan, tmp_path, None, table=table, model=model, clients={})
        assert (len(written.candidates), written.sent) == (8, sent)
    assert not loopback_env.log.paid_twice
    assert written.spent_pico > 0
    assert all(each.model.startswith(model) for each in written.candidates)
