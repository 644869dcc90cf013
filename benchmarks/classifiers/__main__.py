"""Compares kinds of content classifiers on the shipped suite: ``python -m benchmarks.classifiers``.

Writes its own section of ``benchmarks/RESULTS.md``. Models of the catalogue need no key; others are
asked only where they are named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from consensus.benchmark.study import replace_sections
from consensus.benchmark.suites import load_suite
from consensus.cli.policy._classifying import EMBEDDER
from consensus.cli.policy._comparing import side_by_side, words_of_rows
from consensus.policy.classify.text import text_of
from consensus.policy.classify.training import Labelled

METHOD = (
    "`python -m benchmarks.classifiers`; on suites of your own `consensus policy classify compare "
    "SUITE`. Each case's text (no criteria, no options) is to be given its task type. Five "
    "stratified folds, the same for all; every figure is of cases that the fit had not seen, and "
    "nothing is tuned (C = 10). *Surest*: accuracy among the cases with the highest probability, "
    "what a threshold that abstains on the rest would leave. The test is McNemar's, exact, on the "
    "cases where only one of the two is right. A model that is *asked* has seen no case at all, "
    "only the names of the classes; it is asked about the first cases of each class. CPU is this "
    "process's, milliseconds the median on this machine with whatever else ran on it."
)


def main() -> int:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classifiers")
    parser.add_argument("--suite", type=Path, default=Path("benchmarks/suites/judgement"))
    parser.add_argument("--embedder", action="append")
    parser.add_argument("--model", action="append")
    parser.add_argument("--each", type=int, default=3, help="cases of each class for a model")
    parser.add_argument("--max-usd", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/RESULTS.md"))
    asked = parser.parse_args()
    suite = load_suite(asked.suite)
    tasks = [case.task for case in suite.cases]
    cases = Labelled(tuple(map(text_of, tasks)), tuple(case.type for case in suite.cases))
    tables = side_by_side(
        cases,
        tasks,
        tuple(asked.embedder or (EMBEDDER,)),
        tuple(asked.model or ()),
        each=asked.each,
        folds=5,
        policy=None,
        max_usd=asked.max_usd,
    )
    lines = ["## Content classifiers", "", METHOD, ""]
    lines += words_of_rows(tables, len(set(cases.labels)))
    section = "\n".join(lines)
    text = asked.out.read_text(encoding="utf-8") if asked.out.exists() else ""
    asked.out.write_text(
        replace_sections(text, {"classifiers": section}, where=str(asked.out)), encoding="utf-8"
    )
    sys.stdout.write(f"{section}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
