"""What the long run that kills makes of what it found."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reliability._killing import Report, _whole_lines
from benchmarks.reliability.crash import page


def test_one_broken_promise_breaks_the_run_and_is_told_with_its_reason() -> None:
    reports = [Report("decide", kills=3, runs=4), Report("decide", kills=2, runs=3)]
    for report in reports:
        report.check("it is sound", 3, 0)
        report.check("it is there once", 30, 0)
    assert page(reports, [], seed=1)[1] is False
    reports[1].check("it is there once", 1, 1, "row 7 is missing")
    text, broken = page(reports, [], seed=1)
    assert broken
    assert "| it is there once | 61 | 1 | row 7 is missing |" in text
    assert "**1 of 2 promises kept.**" in text
    assert "5 kills in 7 runs of 2 jobs" in text


def test_a_line_that_a_kill_cut_off_is_no_line_and_one_before_it_is_torn(tmp_path: Path) -> None:
    (tmp_path / "tape").write_text('{"key": 1}\n{"ke\n{"key": 2}\n{"key')
    assert _whole_lines(tmp_path / "tape") == ([{"key": 1}, {"key": 2}], 1)
