"""What a certificate is of: the oracle, the prompts and the cases, as hashes.

A live run names all three. A recording of somebody else's answers has neither our oracles nor our
prompts; its own files stand for them, so such a certificate never passes for one of ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from consensus.benchmark.proposals.recording import Recording
from consensus.benchmark.suites import Suite

__all__ = ["oracle_sha256", "prompts_sha256", "suite_sha256", "type_sha256"]

_SHA = re.compile(r"[0-9a-f]{64}")


def oracle_sha256(recording: Recording) -> str:
    """Of the oracle that judged."""
    oracles = recording.source.get("oracles")
    found = oracles.get(recording.stratum) if isinstance(oracles, dict) else None
    return str(found) if _is_sha(found) else _digest(["labels", _origin(recording)])


def prompts_sha256(recording: Recording) -> str:
    """Of the prompts that were asked with."""
    found = recording.source.get("prompts_sha256")
    return str(found) if _is_sha(found) else _digest(["prompts", _origin(recording)])


def suite_sha256(recording: Recording) -> str:
    """Of the task type's cases: of its suite, where there is one; else of labels and ids."""
    if recording.judge_with is not None:
        return type_sha256(recording.judge_with[0], recording.stratum)
    return _digest(
        [[name, dict(sorted(credit.items()))]
         for name, credit in sorted(zip(recording.case_ids, recording.credit, strict=True))]
    )  # fmt: skip


def type_sha256(suite: Suite, task_type: str) -> str:
    """One task type of a suite: its oracle and its cases, and nothing of the other types."""
    cases = {case.id: case.identity() for case in suite.cases if case.type == task_type}
    return _digest([suite.types[task_type].oracle.sha256, cases])


def _origin(recording: Recording) -> str:
    for key in ("answers_sha256", "cases_sha256"):
        found = recording.source.get(key)
        if isinstance(found, str):
            return found
    return recording.name


def _is_sha(value: object) -> bool:
    return isinstance(value, str) and _SHA.fullmatch(value) is not None


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
