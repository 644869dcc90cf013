"""What a task type's suite holds already: by stratum, and as texts that are not written again."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from consensus.benchmark.suites import load_suite
from consensus.errors import SuiteError
from consensus.policy.audit.model import Audit
from consensus.tasks import Task

__all__ = ["Existing", "existing_cases", "judged_by_suites"]


@dataclass(slots=True)
class Existing:
    """Cases that are there.

    Attributes:
        counts: task type → cases by (category, misleading), as their tags say.
        texts: task type → what their judge reads.
    """

    counts: dict[str, Counter[tuple[str, bool]]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)


def existing_cases(audit: Audit) -> Existing:
    """The cases of the suites that an audit names.

    Raises:
        SuiteError: a suite cannot be read.
    """
    found = Existing()
    suites = {}
    for name, task in audit.tasks.items():
        if task.suite is None:
            continue
        folder = audit.root / task.suite
        if folder not in suites:
            suites[folder] = load_suite(folder)
        counts = found.counts.setdefault(name, Counter())
        texts = found.texts.setdefault(name, [])
        for case in suites[folder].cases:
            if case.type == name:
                category = next((tag for tag in case.tags if tag in task.categories), "")
                counts[category, "adversarial" in case.tags] += 1
                texts.append(_text(case.task))
    return found


def judged_by_suites(audit: Audit) -> frozenset[str]:
    """Task types whose own suite holds them, and so their oracle; a broken suite holds none."""
    found = set()
    for name, task in audit.tasks.items():
        if task.suite is None:
            continue
        with suppress(SuiteError):
            if name in load_suite(audit.root / task.suite).types:
                found.add(name)
    return frozenset(found)


def _text(task: Task) -> str:
    data = task.model_dump(mode="json")
    parts: list[str] = []
    for name in ("subject", "a", "b", "items", "messages"):
        value = data.get(name)
        if isinstance(value, str):
            parts.append(value)
        elif isinstance(value, list):
            parts += [
                str(each.get("content", "")) if isinstance(each, dict) else str(each)
                for each in value
                if not (isinstance(each, dict) and each.get("role") == "system")
            ]
    return "\n".join(parts)
