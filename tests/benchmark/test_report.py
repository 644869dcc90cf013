"""The report's figures: right, the same twice, and unknown where nothing is known."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.benchmark.plan import Plan
from consensus.benchmark.report import (
    ReportSettings,
    build_report,
    render_html,
    render_markdown,
    to_json,
)
from consensus.errors import DataError
from consensus.models.protocol import Request
from tests.benchmark.data_fixtures import (
    recorded_data_folder,
    simple_answers,
    simple_cases,
    write_recorded,
)
from tests.benchmark.suite_fixtures import opened, refunds, suite_folder

PRICES = {"small": {"call": 0.01}, "tiny": {"call": 0.005}, "top": {"call": 0.1}}


def recorded(folder: Path, *, prices: bool = True, **more: str) -> Path:
    """Twelve cases labelled A: top is wrong on two, small on three, tiny on six."""
    answers = {
        "top": "AAAAAAAAAABB",
        "small": "AAAAAAAABBBA",
        "tiny": "AAAAAABBBBBB",
        **more,
    }
    return write_recorded(
        folder / "data",
        simple_cases("A" * 12),
        simple_answers(**answers),
        prices=PRICES if prices else None,
    )


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_models_have_their_accuracy_interval_cost_and_role(tmp_path: Path) -> None:
    models = by_name(build_report(recorded(tmp_path))["models"])
    assert models["top"]["accuracy"] == pytest.approx(10 / 12)
    assert models["top"]["role"] == "frontier"
    assert models["small"]["role"] == models["tiny"]["role"] == "panel"
    # Wilson, 9 of 12.
    assert models["small"]["ci95"] == pytest.approx([0.4677, 0.9111], abs=1e-4)
    assert models["small"]["cost_ratio"] == pytest.approx(0.1)
    assert models["small"]["cost_per_correct"] == pytest.approx(0.01 / 0.75)
    assert models["tiny"]["usd"] == pytest.approx(12 * 0.005)


def test_two_seats_split_ties_and_the_controls_stand_beside_them(tmp_path: Path) -> None:
    report = build_report(recorded(tmp_path))
    head = report["headline"]
    # Both right on 6, both wrong on 3, a tie of a right and a wrong one on 3.
    assert report["setup"]["seats"] == 2
    assert head["accuracy"] == pytest.approx((6 + 3 / 2) / 12)
    assert head["cost_per_case"] == pytest.approx(0.015)
    controls = by_name(report["controls"])
    assert set(controls) == {"best_single", "all_frontier", "shuffled", "majority", "oracle"}
    assert controls["best_single"]["models"] == ["small"]
    assert controls["oracle"]["accuracy"] == pytest.approx(9 / 12)
    assert controls["all_frontier"]["accuracy"] == pytest.approx(10 / 12)
    assert report["verdict"]["ruling"] == "does not pay"
    assert "small alone" in report["verdict"]["sentence"]


def test_the_agreement_matrix_counts_equal_answers_and_correlates_errors(tmp_path: Path) -> None:
    matrix = build_report(recorded(tmp_path))["agreement"]
    assert matrix["models"] == ["top", "small", "tiny"]
    assert matrix["agreement"][0][1] == pytest.approx(9 / 12)
    assert matrix["agreement"][1][2] == matrix["agreement"][2][1] == pytest.approx(9 / 12)
    assert matrix["agreement"][0][0] is None  # a single pass agrees with nothing
    wrong = np.array([[0] * 8 + [1, 1, 1, 0], [0] * 6 + [1] * 6])
    phi = float(np.corrcoef(wrong)[0, 1])
    assert matrix["error_correlation"][1][2] == pytest.approx(phi)


def test_the_pareto_line_leaves_out_what_is_dearer_and_worse(tmp_path: Path) -> None:
    report = build_report(recorded(tmp_path))
    models = by_name(report["models"])
    assert models["tiny"]["pareto"] is models["small"]["pareto"] is models["top"]["pareto"] is True
    vote = report["strategies"][0]
    assert vote["pareto"] is False
    costs = [corner[0] for corner in report["pareto"]]
    assert costs == sorted(costs)


def test_accuracy_by_seats_begins_with_one_seat_and_ends_with_all(tmp_path: Path) -> None:
    report = build_report(recorded(tmp_path))
    seats = report["by_seats"]
    assert seats["seats"] == [1, 2]
    assert seats["accuracy"][1] == pytest.approx(report["headline"]["accuracy"])
    one = seats["accuracy"][0]
    assert 0.5 <= one <= 0.75  # tiny alone and small alone, in random order
    assert seats["gain"][1] == pytest.approx(seats["accuracy"][1] - one)


def test_risk_falls_where_only_agreement_decides(tmp_path: Path) -> None:
    curve = build_report(recorded(tmp_path))["risk_coverage"]
    assert curve["threshold"] == [1.0, 0.5]
    assert curve["coverage"] == pytest.approx([9 / 12, 1.0])
    assert curve["risk"] == pytest.approx([3 / 9, (3 + 3 / 2) / 12])


def test_unknown_costs_are_null_and_said_to_be_unknown(tmp_path: Path) -> None:
    report = build_report(recorded(tmp_path, prices=False))
    assert all(row["cost_per_case"] is None and row["usd"] is None for row in report["models"])
    assert report["headline"]["cost_ratio"] is None
    assert report["cost"]["answers_usd"] is None
    assert report["cost"]["unknown"] == ["small", "tiny", "top"]
    assert report["pareto"] == []
    page, text = render_html(report), render_markdown(report)
    assert "unknown" in page
    assert "unknown" in text
    assert "$0" not in page.replace("$0.", "")
    assert "| $0" not in text


def test_without_prices_the_most_accurate_is_the_frontier_and_it_is_said(tmp_path: Path) -> None:
    report = build_report(recorded(tmp_path, prices=False))
    assert report["setup"]["frontier"] == "top"
    assert any("measured on these same cases" in reason for reason in report["setup"]["why"])


def test_a_model_without_a_price_is_no_panel_member_where_others_have_one(tmp_path: Path) -> None:
    report = build_report(recorded(tmp_path, free="A" * 12))
    assert report["setup"]["panel"] == ["tiny", "small"]
    assert by_name(report["models"])["free"]["role"] == ""
    assert by_name(report["models"])["free"]["pareto"] is None


def test_cases_that_a_model_did_not_answer_are_left_out_counted_or_wrong(tmp_path: Path) -> None:
    folder = recorded(tmp_path, top="__AAAAAAAABB")
    report = build_report(folder)
    assert (report["setup"]["cases"], report["setup"]["left_out"]) == (10, 2)
    assert by_name(report["models"])["top"]["accuracy"] == pytest.approx(8 / 10)
    every = build_report(folder, ReportSettings(all_cases=True))
    assert (every["setup"]["cases"], every["setup"]["left_out"]) == (12, 0)
    assert by_name(every["models"])["top"]["accuracy"] == pytest.approx(8 / 12)


def test_the_callers_choices_are_kept(tmp_path: Path) -> None:
    settings = ReportSettings(frontier="small", panel=("tiny", "top"), strategy="cascade")
    report = build_report(recorded(tmp_path), settings)
    assert report["setup"]["frontier"] == "small"
    assert report["setup"]["panel"] == ["tiny", "top"]
    assert report["strategies"][0]["strategy"] == "cascade"
    assert report["strategies"][0]["role"] == "top"


def test_an_unknown_model_is_named_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'no answers of "nobody".*small, tiny, top'):
        build_report(recorded(tmp_path), ReportSettings(frontier="nobody"))


def test_one_model_alone_is_reported_and_compared_with_nothing(tmp_path: Path) -> None:
    folder = write_recorded(
        tmp_path / "data", simple_cases("AB"), simple_answers(lone="AA"), prices=None
    )
    report = build_report(folder)
    assert report["verdict"]["ruling"] == "nothing to compare"
    assert "only lone answered; it is right on 50.0%" in report["verdict"]["sentence"]
    assert render_html(report)
    assert render_markdown(report)
    json.loads(to_json(report))


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = recorded(tmp_path, small__1="AAAAAABBBBAA", tiny__1="BBAAAABBBBBB")
    first, second = build_report(folder), build_report(folder)
    assert to_json(first) == to_json(second)
    assert render_html(first) == render_html(second)
    assert render_markdown(first) == render_markdown(second)


def test_json_holds_no_nan_and_reads_back_to_the_same_page(tmp_path: Path) -> None:
    report = build_report(recorded(tmp_path, prices=False))
    again = json.loads(to_json(report))
    assert render_html(again) == render_html(report)


def test_html_and_markdown_say_the_same_figures(tmp_path: Path) -> None:
    report = build_report(recorded(tmp_path))
    page, text = render_html(report), render_markdown(report)
    for row in [*report["models"], *report["strategies"], *report["controls"]]:
        figure = f"{100 * row['accuracy']:.1f} %"
        assert figure in page
        assert figure in text
    sentence = report["verdict"]["sentence"].partition(": ")[2][1:]
    assert sentence.replace("'", "&#39;") in page
    assert sentence in text.replace("\\", "")


EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> [a](javascript:1) `'


def test_judged_texts_and_names_are_escaped_everywhere(tmp_path: Path) -> None:
    cases = [
        {"case_id": f"c{i}{EVIL}", "label": "A", "options": "A|B", "question": EVIL, "subset": EVIL}
        for i in range(4)
    ]
    answers = [
        {"case_id": case["case_id"], "model": model, "answer": answer}
        for case in cases
        for model, answer in ((f"m{EVIL}", "A"), ("other", "B"), ("third", "B"))
    ]
    report = build_report(write_recorded(tmp_path / "data", cases, answers))
    assert report["disagreements"]
    page, text = render_html(report), render_markdown(report)
    assert "&lt;script&gt;" in page
    assert "<script" not in page.lower()
    assert "<img" not in page.lower()
    assert "<script" not in text.lower()
    assert "<img" not in text.lower()
    assert not re.search(r"(?<!\\)\]\(javascript", text)


def test_long_texts_are_cut_and_readings_are_capped(tmp_path: Path) -> None:
    cases = [
        {"case_id": f"c{i}", "label": "A", "options": "A|B", "question": "long " * 2000}
        for i in range(30)
    ]
    answers = [
        {"case_id": case["case_id"], "model": model, "answer": answer}
        for case in cases
        for model, answer in (("top", "A"), ("small", "B"), ("tiny", "B"))
    ]
    folder = write_recorded(tmp_path / "data", cases, answers, prices=PRICES)
    report = build_report(folder, ReportSettings(readings=3))
    wrong = [case for case in report["disagreements"] if case["group"] == "panel_wrong"]
    assert len(wrong) == 3
    assert all(len(text) <= 700 for case in wrong for _, text in case["shown"])
    assert build_report(folder, ReportSettings(readings=0))["disagreements"] == []


def test_a_case_to_read_shows_no_gold_among_what_the_judge_saw(tmp_path: Path) -> None:
    cases = [
        {"case_id": f"c{i}", "label": "A", "options": "A|B", "question": "q", "human_votes": "gold"}
        for i in range(4)
    ]
    answers = [
        {"case_id": case["case_id"], "model": model, "answer": answer}
        for case in cases
        for model, answer in (("top", "A"), ("small", "B"))
    ]
    report = build_report(write_recorded(tmp_path / "data", cases, answers, prices=PRICES))
    names = {name for case in report["disagreements"] for name, _ in case["shown"]}
    assert names == {"options", "question"}


async def test_a_live_run_counts_its_framings_together_and_says_what_was_paid(
    tmp_path: Path,
) -> None:
    def behave(request: Request) -> Any:
        if request.model == "scripted/b":  # the dearer one: always right
            text = request.turns[-1].text + request.turns[0].text
            number = next(i for i in range(24) if f"Case {i}:" in text)
            return "approve" if number % 2 else "reject"
        return None

    suite_folder(tmp_path, cases=[{**row, "complexity": "low"} for row in refunds(24)])
    plan = Plan(("scripted/a", "scripted/b"), 2, 2)
    with await opened(tmp_path, behave, plan=plan) as run:
        outcome = await run.go()
    folder = tmp_path / "run"
    report = build_report(folder)
    assert report["setup"]["variants"] == ["all framings"]
    assert report["setup"]["frontier"] == "scripted/b"
    assert by_name(report["models"])["scripted/b"]["accuracy"] == 1.0
    assert by_name(report["models"])["scripted/a"]["answers"] == 24 * 4
    assert report["setup"]["seats"] == 3
    assert report["cost"]["paid_usd"] == pytest.approx(outcome.spent_pico / 1e12)
    assert [row["name"] for row in report["by_complexity"]] == ["low"]
    assert [row["name"] for row in report["by_type"]] == ["refund"]
    assert report["method"]["source"]["suite_sha256"]
    assert report["disagreements"][0]["answers"]["scripted/a"]["rationale"]
    assert render_html(report) == render_html(build_report(folder))


@pytest.mark.needs("recorded-data")
def test_real_judges_have_the_figures_of_their_readme() -> None:
    report = build_report(recorded_data_folder() / "rb2_judges_dev")
    models = by_name(report["models"])
    assert report["setup"]["cases"] == 611
    assert models["claude-haiku-4.5"]["usd"] is None
    assert models["claude-haiku-4.5"]["prompt_tokens"] is None
    # Means over eight passes; the readme's are of mean scores over k passes.
    assert models["gpt-5.4"]["accuracy"] == pytest.approx(0.709, abs=2e-3)
    assert models["gpt-5.4"]["role"] == "frontier"
    assert report["dependence"]["n_eff"] < 2
    assert {row["name"] for row in report["by_type"]} == {"Focus", "Precise IF"}
