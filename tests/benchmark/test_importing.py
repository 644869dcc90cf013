"""Logs become cases and recorded answers; what is broken is named; what it cost is true."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.importing import Imported, import_traffic
from consensus.benchmark.recorded import load_run
from consensus.benchmark.replay import ReplaySettings, replay
from consensus.benchmark.suites import load_suite
from consensus.cli.main import run as run_command
from consensus.errors import DataError, PriceError
from consensus.models.prices import PriceBook
from tests.benchmark.log_fixtures import (
    SCORING,
    body,
    chat,
    litellm,
    otlp,
    own,
    span,
    write,
)
from tests.benchmark.suite_fixtures import lines

PRICES = PriceBook(
    overrides={
        "openai/gpt-4o-mini": {"input": 1.0, "output": 10.0, "cache_read": 0.5},
        "anthropic/claude-haiku-5-5": {"input": 2.0, "output": 10.0, "cache_read": 1.0},
        "anthropic/dear": {"input": 10.0, "output": 100.0, "cache_read": 5.0},
    }
)


def imported(folder: Path, rows: list[Any], **options: Any) -> Imported:
    path = write(folder / "log.jsonl", rows)
    return import_traffic([path], folder / "out", prices=PRICES, **options)


def answers(folder: Path) -> list[dict[str, Any]]:
    return lines(folder / "out/answers.jsonl")


# -- each form -------------------------------------------------------------------------------------


def test_litellm_rows_become_answers_with_their_tokens_cost_and_latency(tmp_path: Path) -> None:
    imported(tmp_path, [litellm(i) for i in range(12)])
    first = answers(tmp_path)[0]
    assert first["model"] == "openai/gpt-4o-mini"
    assert first["served_model"] == "openai/gpt-4o-mini-2024-07-18"
    assert (first["prompt_tokens"], first["completion_tokens"]) == (1000, 100)
    assert (first["cost_usd"], first["cost_basis"]) == (1.35e-05, "recorded")
    assert first["latency_s"] == 1.5
    assert Counter(a["answer"] for a in answers(tmp_path)) == {"bug": 4, "Billing": 4, "other": 4}


def test_openai_request_and_response_rows_are_read(tmp_path: Path) -> None:
    rows = [{"request": body(i), "response": chat(i), "latency_s": 0.5} for i in range(12)]
    imported(tmp_path, rows)
    case = lines(tmp_path / "out/cases.jsonl")[0]
    assert case["task_kind"] == "choose"
    assert case["subject"] == "Ticket 0: broken"
    assert answers(tmp_path)[0]["latency_s"] == 0.5


def test_a_batchs_output_finds_its_questions_in_the_input_file(tmp_path: Path) -> None:
    questions = write(
        tmp_path / "in.jsonl",
        [
            {
                "custom_id": f"q{i}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body(i),
            }
            for i in range(12)
        ],
    )
    results = [
        {
            "id": f"b{i}",
            "custom_id": f"q{i}",
            "response": {"status_code": 200, "request_id": "r", "body": chat(i)},
            "error": None,
        }
        for i in range(11)
    ]
    failed = {
        "id": "b11",
        "custom_id": "q11",
        "response": {"status_code": 429, "request_id": "r", "body": {"error": {"code": "x"}}},
        "error": None,
    }
    lost = {"id": "b12", "custom_id": "nowhere", "response": {"status_code": 200, "body": chat(0)}}
    output = write(tmp_path / "out.jsonl", [*results, failed, lost])
    done = import_traffic([output, questions], tmp_path / "out", prices=PRICES)
    assert done.answers == 12
    assert done.report.failures == {"rate_limited": 1}
    assert done.report.messages == [
        f"{output}:13: an answer of a batch whose input file was not given"
    ]


def test_responses_and_anthropic_bodies_are_read_too(tmp_path: Path) -> None:
    responses = {
        "object": "response",
        "model": "gpt-4o-mini",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "bug"}]},
        ],
        "usage": {"input_tokens": 50, "output_tokens": 5},
    }
    anthropic = {
        "type": "message",
        "model": "claude-haiku-5-5",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "bug"}],
        "usage": {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 5},
    }
    asked = {"model": "gpt-4o-mini", "instructions": "Judge.", "input": "Is it a bug?"}
    question = [{"role": "user", "content": "Is it?"}]
    spoken = {"model": "claude-haiku-5-5", "system": "Judge.", "messages": question}
    imported(
        tmp_path,
        [
            {"request": asked, "response": responses},
            {"request": spoken, "response": anthropic},
        ],
    )
    found = {a["model"]: a for a in answers(tmp_path)}
    assert found["openai/gpt-4o-mini"]["prompt_tokens"] == 50
    assert found["anthropic/claude-haiku-5-5"]["prompt_tokens"] == 100
    case = lines(tmp_path / "out/cases.jsonl")[0]
    assert case["messages"][0] == {"role": "system", "content": "Judge."}


@pytest.mark.parametrize("as_document", [False, True])
def test_otlp_spans_are_read_as_lines_and_as_a_document(tmp_path: Path, as_document: bool) -> None:
    spans = [span(i) for i in range(12)]
    path = tmp_path / "log.json"
    if as_document:
        path.write_text(json.dumps(otlp(*spans), indent=2))
    else:
        write(path, [otlp(one) for one in spans])
    import_traffic([path], tmp_path / "out", prices=PRICES)
    first = answers(tmp_path)[0]
    assert first["model"] == "anthropic/claude-haiku-5-5"
    assert first["served_model"] == "anthropic/claude-haiku-5-5-20260901"
    assert first["latency_s"] == 2.5
    # 600 fresh at 2, 300 from the cache at 1, 20 out at 10 dollars a million
    assert first["cost_usd"] == pytest.approx((600 * 2 + 300 * 1 + 20 * 10) / 1e6)


def test_spans_by_the_older_names_are_read(tmp_path: Path) -> None:
    older = {
        "name": "openai.chat",
        "attributes": {
            "gen_ai.system": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": "Judge.",
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": "Is it a bug?",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "yes",
            "gen_ai.usage.prompt_tokens": 12,
            "gen_ai.usage.completion_tokens": 1,
        },
    }
    imported(tmp_path, [older])
    assert (answers(tmp_path)[0]["value"], answers(tmp_path)[0]["prompt_tokens"]) == ("yes", 12)


def test_content_on_a_spans_event_is_found(tmp_path: Path) -> None:
    whole = span(0)
    content = [a for a in whole["attributes"] if "messages" in a["key"]]
    whole["attributes"] = [a for a in whole["attributes"] if "messages" not in a["key"]]
    whole["events"] = [{"name": "gen_ai.client.inference.operation.details", "attributes": content}]
    assert imported(tmp_path, [otlp(whole)]).answers == 1


def test_rows_of_our_own_shape_keep_type_kind_label_and_id(tmp_path: Path) -> None:
    rank = {
        "id": "rank-1",
        "type": "queue",
        "kind": "rank",
        "items": ["x", "y", "z"],
        "model": "openai/gpt-4o-mini",
        "answer": ["y", "x", "z"],
        "label": ["x", "y", "z"],
    }
    done = imported(tmp_path, [*(own(i) for i in range(4)), rank])
    assert done.labelled == 5
    found = {a["case"]: a for a in answers(tmp_path)}
    assert [found[f"case-{i}"]["passed"] for i in range(4)] == [False, True, False, True]
    assert found["rank-1"]["value"] == ["y", "x", "z"]
    run = load_run(tmp_path / "out")
    assert not run.report.broken
    figures = replay(
        run,
        ReplaySettings(
            frontier="openai/gpt-4o-mini", panel=("openai/gpt-4o-mini",), strategy="single"
        ),
    ).figures
    assert figures["accuracy"] == pytest.approx(2 / 5)


def test_a_models_further_answers_to_a_question_are_its_samples(tmp_path: Path) -> None:
    imported(tmp_path, [own(1), own(1, answer="reject"), own(1, model="anthropic/dear")])
    assert [(a["model"], a["sample"]) for a in answers(tmp_path)] == [
        ("openai/gpt-4o-mini", 0),
        ("openai/gpt-4o-mini", 1),
        ("anthropic/dear", 0),
    ]


# -- what is broken, and what is left out ----------------------------------------------------------


def test_every_broken_row_is_named_with_its_line_and_counted(tmp_path: Path) -> None:
    rows: list[Any] = [
        litellm(0),
        '{"torn": ',
        "[1, 2]",
        {"nothing": "known"},
        litellm(1, messages=None),
        litellm(2, model=""),
        litellm(3, response=None),
        {"request": body(0), "response": {"object": "nonsense"}},
        own(1, kind="choose", options=["only one"]),
    ]
    done = imported(tmp_path, rows)
    assert sum(done.report.broken.values()) == 8
    assert [m.split(": ")[0].rpartition(":")[2] for m in done.report.messages] == list("23456789")
    assert done.report.rows == 9


def test_what_is_sound_and_of_no_use_is_counted_by_reason_and_not_broken(tmp_path: Path) -> None:
    tools = chat(0)
    tools["choices"][0]["message"]["tool_calls"] = [{"id": "t"}]
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    rows = [
        litellm(0),
        litellm(1, call_type="aembedding"),
        litellm(2, messages="redacted-by-litellm"),
        litellm(3, messages=[image]),
        {"request": body(0), "response": tools},
        otlp(span(0, **{"gen_ai.operation.name": "execute_tool"})),
        otlp(span(0, **{"gen_ai.input.messages": None})),
    ]
    done = imported(tmp_path, rows)
    assert not done.report.broken
    assert sum(done.report.filtered.values()) == 6
    assert done.answers == 1


def test_a_failed_call_is_a_failure_of_its_class_and_costs_what_the_log_says(
    tmp_path: Path,
) -> None:
    failed = litellm(
        5, status="failure", response=None, error_information={"error_class": "RateLimitError"}
    )
    cut = {"request": body(1), "response": chat(1, finish_reason="length")}
    done = imported(tmp_path, [litellm(0), litellm(1), failed, cut])
    assert done.report.failures == {"rate_limited": 1, "truncated": 1}


def test_an_answer_outside_the_reviewed_labels_is_a_failure_and_not_dropped(
    tmp_path: Path,
) -> None:
    rows = [*(litellm(i) for i in range(30)), litellm(30, answer="I would rather not say")]
    done = imported(tmp_path, rows)
    assert done.report.failures == {"off_list": 1}
    assert done.answers == 31


def test_a_log_without_anything_of_use_is_an_error_that_names_the_first_fault(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"log\.jsonl:1: a row of no known form"):
        imported(tmp_path, [{"a": 1}])


def test_text_that_looks_like_code_or_markup_is_only_text(tmp_path: Path) -> None:
    evil = "__import__('os').system('touch /tmp/x') {{7*7}} =cmd|'/c calc'!A0 [bold]"
    rows = [litellm(i, system=evil, answer=evil) for i in range(3)]
    imported(tmp_path, rows)
    assert lines(tmp_path / "out/cases.jsonl")[0]["messages"][0]["content"] == evil
    assert answers(tmp_path)[0]["value"] == evil


def test_a_line_beyond_the_bound_is_named_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.benchmark.importing.reading.MAX_LINE_BYTES", 5_000)
    long = json.dumps(litellm(0, padding="x" * 20_000))
    done = imported(tmp_path, [litellm(1), long, litellm(2)])
    assert done.answers == 2
    assert done.report.messages[0].startswith(f"{tmp_path / 'log.jsonl'}:2: longer than")


def test_deeply_nested_json_is_a_broken_row(tmp_path: Path) -> None:
    done = imported(tmp_path, [litellm(0), "[" * 100_000 + "]" * 100_000])
    assert done.report.broken == {"not JSON": 1}


def test_compressed_logs_are_read_and_a_cut_one_is_an_error(tmp_path: Path) -> None:
    data = gzip.compress("\n".join(json.dumps(litellm(i)) for i in range(50)).encode())
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(data)
    assert import_traffic([path], tmp_path / "out", prices=PRICES).answers == 50
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        import_traffic([path], tmp_path / "out2", prices=PRICES)


# -- guessing --------------------------------------------------------------------------------------


def test_types_are_told_apart_by_system_prompt_and_by_what_answers_look_like(
    tmp_path: Path,
) -> None:
    decisions = [
        json.dumps({"reason": f"r{i}", "decision": ("approve", "reject")[i % 2]}) for i in range(8)
    ]
    rows = [
        *(litellm(i) for i in range(12)),
        *(litellm(i, system=SCORING, answer=str(1 + i % 9)) for i in range(10)),
        *(litellm(i, system="Decide on the refund.", answer=decisions[i]) for i in range(8)),
        *(litellm(i, system="Write a poem.", answer=f"Roses are {i} red") for i in range(6)),
    ]
    done = imported(tmp_path, rows)
    assert [(g.kind, len(g.members)) for g in done.groups] == [
        ("choose", 12),
        ("score", 10),
        ("approve", 8),
        ("generate", 6),
    ]
    assert done.groups[0].labels == ("Billing", "bug", "other")
    assert done.groups[1].scale == (1.0, 10.0)
    assert done.groups[2].answer_field == "decision"


def test_numbers_and_ids_in_a_system_prompt_do_not_make_types(tmp_path: Path) -> None:
    rows = [
        litellm(i, system=f"Request {i} of user 0b9f8a1c-1111-2222-3333-44445555666{i}. Judge.")
        for i in range(8)
    ]
    assert len(imported(tmp_path, rows).groups) == 1


def test_without_a_system_prompt_templates_tell_types_apart(tmp_path: Path) -> None:
    def row(text: str, answer: str) -> Any:
        return litellm(0, answer=answer, messages=[{"role": "user", "content": text}])

    things = ["a chair", "my old lamp", "some broken glass", "two left shoes", "one red car"] * 4
    rows = [
        row(f"Does the following product description break our listing rules? {x}", "yes")
        for x in things
    ] + [
        row(f"Translate this sentence into plain and simple French for a child: {x}", f"le {x}")
        for x in things
    ]
    done = imported(tmp_path, rows)
    assert sorted(len(g.members) for g in done.groups) == [20, 20]


def test_a_reviewed_sheet_decides_and_is_kept(tmp_path: Path) -> None:
    rows = [
        *(litellm(i) for i in range(12)),
        *(litellm(i, system=SCORING, answer=str(1 + i % 9)) for i in range(10)),
    ]
    imported(tmp_path, rows)
    sheet = tmp_path / "out/types.toml"
    text = sheet.read_text()
    text = text.replace('name = "type_01"', 'name = "triage"').replace(
        'labels = ["Billing", "bug", "other"]', 'labels = ["Billing", "bug"]'
    )
    sheet.write_text(text.replace('kind = "score"', 'kind = "skip"'))
    done = imported(tmp_path, rows, types=sheet)
    assert {c["task_type"] for c in lines(tmp_path / "out/cases.jsonl")} == {"triage"}
    assert done.report.failures == {"off_list": 4}
    assert done.report.filtered["skipped in the review"] == 10
    again = sheet.read_text()
    imported(tmp_path, rows, types=sheet)
    assert sheet.read_text() == again


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "choose"', 'kind = "chose"', '"kind"'),
        ('labels = ["Billing", "bug", "other"]', "labels = []", "no two different labels"),
        ('name = "type_01"', 'name = "a name"', '"name"'),
        ('name = "type_01"', 'name = "type_01"\ncolour = 1', '"colour"'),
    ],
)
def test_a_faulty_sheet_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    rows = [litellm(i) for i in range(12)]
    imported(tmp_path, rows)
    sheet = tmp_path / "out/types.toml"
    sheet.write_text(sheet.read_text().replace(old, new))
    with pytest.raises(DataError, match=r"types\.toml:\d+") as caught:
        imported(tmp_path, rows, types=sheet)
    assert said in str(caught.value)


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [litellm(i % 5) for i in range(12)]
    names = ("cases.jsonl", "answers.jsonl", "manifest.json", "types.toml", "suite/suite.toml")
    imported(tmp_path, rows)
    first = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    imported(tmp_path, rows)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == first


# -- what comes of it ------------------------------------------------------------------------------


def test_the_drafted_suite_is_sound(tmp_path: Path) -> None:
    rows = [
        *(litellm(i) for i in range(12)),
        *(litellm(i, system=SCORING, answer=str(1 + i % 9)) for i in range(10)),
        *(litellm(i, system="Extract.", answer=json.dumps({"n": i, "s": "x"})) for i in range(5)),
        *(litellm(i, system="Write at length.", answer="word " * 40 + str(i)) for i in range(5)),
        *(own(i) for i in range(4)),
    ]
    imported(tmp_path, rows)
    suite = load_suite(tmp_path / "out/suite")
    assert len(suite.cases) == 36
    assert sorted(t.oracle.name for t in suite.types.values()) == [
        "exact",
        "exact",
        "fields",
        "numeric",
        "rubric",
    ]


def test_costs_are_as_recorded_else_by_tokens_and_the_others_use_the_same_tokens(
    tmp_path: Path,
) -> None:
    rows = [litellm(i, response_cost=0.25) for i in range(2)]
    rows += [litellm(2, response_cost=None), litellm(3, response_cost=None, prompt_tokens=0)]
    rows[3]["response"]["usage"] = None
    rows[3]["completion_tokens"] = 0
    done = imported(tmp_path, rows, alternatives=["anthropic/dear"])
    (cost,) = done.costs
    by_tokens = (600 * 1.0 + 400 * 0.5 + 100 * 10.0) / 1e6
    assert (cost.calls, cost.priced, cost.recorded, cost.uncounted) == (4, 3, 2, 1)
    assert cost.cost_usd == pytest.approx(0.5 + by_tokens)
    assert cost.today_usd == pytest.approx(3 * by_tokens)
    assert cost.would_cost["anthropic/dear"] == pytest.approx(
        3 * (600 * 10 + 400 * 5 + 100 * 100) / 1e6
    )
    assert cost.to_json()["would_cost_basis"] == "same tokens at today's price map"


def test_a_model_without_a_price_has_no_cost_and_an_alternative_without_one_is_refused(
    tmp_path: Path,
) -> None:
    done = imported(tmp_path, [own(1, model="openai/nobody-knows-this-one")])
    assert answers(tmp_path)[0]["cost_usd"] is None
    assert (done.costs[0].priced, done.costs[0].today_usd) == (0, None)
    with pytest.raises(PriceError):
        imported(tmp_path, [own(1)], alternatives=["openai/nobody-knows-this-one"])


def test_a_recorded_answer_stands_for_a_missing_label_and_that_is_said(tmp_path: Path) -> None:
    rows = [own(1, label=None), own(1, label=None, model="anthropic/dear", answer="reject")]
    done = imported(tmp_path, rows, reference="anthropic/dear")
    case = lines(tmp_path / "out/cases.jsonl")[0]
    assert (case["label"], case["gold"]) == ("reject", "recorded")
    assert "a recorded answer" in done.report.notes[0]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        imported(tmp_path, [litellm(0)])
    (tmp_path / "out/manifest.json").write_text('{"format": 1, "source": {"suite": "s"}}')
    with pytest.raises(DataError, match="holds a run already"):
        imported(tmp_path, [litellm(0)])


def test_the_command_prints_costs_and_names_broken_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "log.jsonl", [*(litellm(i) for i in range(12)), "{"])
    arguments = ["bench", "import", str(path), "--out", str(tmp_path / "out"), "--json"]
    assert run_command(arguments) == 0
    printed = capsys.readouterr()
    data = json.loads(printed.out)
    assert data["types"][0]["kind"] == "choose"
    assert set(data["costs"][0]["would_cost"]) == {
        "anthropic/claude-haiku-5-5",
        "anthropic/claude-opus-5-5",
        "anthropic/claude-sonnet-5-5",
    }
    assert "log.jsonl:13: not JSON" in printed.err
    assert run_command([*arguments, "--strict"]) == 1
