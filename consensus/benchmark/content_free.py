"""Content-free cases of a suite: what a model answers before it has read anything.

Contextual calibration (Zhao et al. 2021, 2102.09690) asks a model the very question, criteria and
options included, about an input that says nothing, and divides its later answers by that answer.
The inputs are those of the paper, but for the empty one, which no task may have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consensus.benchmark.suites import TaskType, load_suite
from consensus.errors import DataError
from consensus.policy.toml_text import quoted

__all__ = ["INPUTS", "TAG", "content_free_cases", "write_content_free"]

INPUTS = ("N/A", "[MASK]", "(no content)")
"""Texts that say nothing."""

TAG = "content-free"

NOTE = "Content-free: asked for the model's label bias; its label means nothing."

_TEXTS = {"approve": ("subject",), "choose": ("subject",), "compare": ("a", "b")}
_OPTIONS = {"approve": ("approve", "reject"), "compare": ("A", "B", "tie")}


def content_free_cases(given: TaskType) -> list[dict[str, Any]]:
    """Lines of ``cases.jsonl``: the type's own question about each of :data:`INPUTS`.

    Empty for kinds without a closed set, and for choices whose options differ by case.
    """
    kind = given.defaults.kind
    options = _OPTIONS.get(kind) or tuple(given.defaults.fields.get("options") or ())
    if kind not in _TEXTS or not options:
        return []
    return [
        {
            "id": f"{given.name}-content-free-{number}",
            "type": given.name,
            **dict.fromkeys(_TEXTS[kind], text),
            "label": options[0],
            "tags": [TAG],
            "note": NOTE,
        }
        for number, text in enumerate(_distinct(kind), 1)
    ]


def _distinct(kind: str) -> Sequence[str]:
    return INPUTS if kind != "compare" else INPUTS[:2]


def write_content_free(suite: str | Path, out: str | Path) -> tuple[str, ...]:
    """Write the content-free suite of a suite, for ``consensus bench run``; the types it holds.

    Raises:
        DataError: no type has fixed options, or the folder holds a suite already.
    """
    folder, target = Path(suite), Path(out)
    source = load_suite(folder)
    by_type = {name: content_free_cases(given) for name, given in source.types.items()}
    held = {name: cases for name, cases in by_type.items() if cases}
    if not held:
        raise DataError("has no task type with fixed options", where=str(folder))
    if (target / "suite.toml").exists():
        raise DataError("holds a suite already", where=str(target), fix="--out NEW_FOLDER")
    target.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(case, ensure_ascii=False) for cases in held.values() for case in cases]
    (target / "cases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (target / "suite.toml").write_text(_toml(source.name, source, held), encoding="utf-8")
    load_suite(target)
    return tuple(held)


def _toml(name: str, suite: Any, held: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["version = 1", f"name = {quoted(name + '-content-free')}"]
    for type_name in held:
        given: TaskType = suite.types[type_name]
        lines += ["", f"[types.{quoted(type_name)}]", f"kind = {quoted(given.defaults.kind)}"]
        for key, value in given.defaults.fields.items():
            if isinstance(value, str):
                lines.append(f"{key} = {quoted(value)}")
            elif key == "options":
                lines.append(f"options = [{', '.join(quoted(option) for option in value)}]")
    return "\n".join(lines) + "\n"
