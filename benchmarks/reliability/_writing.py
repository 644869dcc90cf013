"""Putting a section into RESULTS.md."""

from __future__ import annotations

from pathlib import Path

from consensus.benchmark.study import replace_sections

__all__ = ["RESULTS", "keep"]

RESULTS = Path(__file__).resolve().parents[1] / "RESULTS.md"


def keep(name: str, text: str) -> None:
    """Replace this run's section, and no other."""
    before = RESULTS.read_text(encoding="utf-8")
    after = replace_sections(before, {name: text}, where=str(RESULTS))
    RESULTS.write_text(after, encoding="utf-8")
