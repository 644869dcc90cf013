"""The live run's section: from the answers in the checkout, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.benchmark.live_study import FOLDER, LIVE, LivePlan, render_live
from consensus.benchmark.recorded import load_run
from consensus.errors import DataError

ROOT = Path(__file__).parents[2]


def test_the_published_section_is_what_the_recorded_answers_give() -> None:
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    published = text.partition("<!-- study:live -->")[2].partition("<!-- /study:live -->")[0]
    assert published.strip() == render_live(load_run(ROOT / FOLDER)).strip()


def test_the_recorded_answers_are_of_the_shipped_suite() -> None:
    from consensus.benchmark.suites import load_suite

    run = load_run(ROOT / FOLDER)
    suite = load_suite(ROOT / "benchmarks" / "suites" / "judgement")
    assert run.source["suite_sha256"] == suite.sha256
    assert set(run.cases.ids) == {case.id for case in suite.cases}


def test_a_panel_of_one_framing_is_no_panel() -> None:
    run = load_run(ROOT / FOLDER)
    with pytest.raises(DataError, match="no/such was asked with 0 framing"):
        render_live(run, LivePlan("no/such", LIVE.large))
