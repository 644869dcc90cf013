"""What the long runs share: where their figures go, and which code they are about."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["RESULTS", "ROOT", "fingerprint", "keep"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/RESULTS.md"


def keep(name: str, text: str) -> None:
    """Replace this run's section of RESULTS.md, and no other."""
    # Not imported above: the run under mutants must not import what it mutates.
    from consensus.benchmark.study import replace_sections

    before = RESULTS.read_text(encoding="utf-8")
    after = replace_sections(before, {name: text}, where=str(RESULTS))
    RESULTS.write_text(after, encoding="utf-8")


def fingerprint() -> str:
    """Of the code and tests: what is known of another state says nothing of this one."""
    whole = hashlib.sha256()
    for file in sorted([*ROOT.glob("consensus/**/*.py"), *ROOT.glob("tests/**/*.py")]):
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]
