"""The cases that a person should read: where somebody was surely wrong."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consensus.benchmark.evidence import Evidence
from consensus.benchmark.measure import Measured
from consensus.benchmark.report.scope import Scope
from consensus.strangers import numbered_lines, parse_json

__all__ = ["GROUPS", "worst_cases"]

GROUPS = {
    "panel_wrong": "The panel was wrong, the frontier right",
    "frontier_wrong": "The frontier was wrong, the panel right",
    "all_wrong": "Everybody gave the same wrong answer: look at the label",
}

TEXT = 700
"""Characters of a judged text that are shown."""

ANSWER = 240
"""Characters of an answer or a rationale that are shown."""

ANSWERS = 10
"""So many models' answers are shown with a case."""


def worst_cases(
    scope: Scope,
    evidence: Evidence,
    panel: Measured,
    base: Measured,
    *,
    most: int,
    folder: Path | None,
) -> list[dict[str, Any]]:
    """The worst disagreements, at most ``most`` of each group of :data:`GROUPS`.

    Args:
        scope: what is reported.
        evidence: everybody's answers, members as in ``scope.members``.
        panel: the panel's decisions.
        base: the frontier's.
        most: of each group.
        folder: of a live run, for the answers' own words; None where there are none.
    """
    number = np.maximum(evidence.present.sum(axis=2), 1)
    share = evidence.votes.sum(axis=2, dtype=float) / number[..., None]
    together = share.mean(axis=1)
    sure = together.max(axis=1)
    wrong = np.where(evidence.credit > 0, 0.0, together).max(axis=1)
    heat = {
        "panel_wrong": (base.credit - panel.credit) * (0.5 + sure),
        "frontier_wrong": (panel.credit - base.credit) * (0.5 + sure),
        "all_wrong": np.where((panel.credit == 0) & (base.credit == 0), wrong, 0.0),
    }
    floor = {"panel_wrong": 0.25, "frontier_wrong": 0.25, "all_wrong": 0.999}
    picked: list[tuple[str, int]] = []
    for group, values in heat.items():
        order = sorted(
            range(len(values)), key=lambda i: (-round(values[i], 9), scope.run.cases.ids[i])
        )
        picked += [(group, i) for i in order[:most] if values[i] >= floor[group]]
    words = _words(folder, {scope.run.cases.ids[i] for _, i in picked}) if folder else {}
    return [
        {"group": group, **_case(scope, share, i, words.get(scope.run.cases.ids[i], {}))}
        for group, i in picked
    ]


def _case(
    scope: Scope, share: Any, i: int, words: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    cases = scope.run.cases
    options = cases.options[i]
    gold = [name for k, name in enumerate(options) if cases.credit[i, k] > 0]
    said: dict[str, dict[str, Any]] = {}
    shown = _shown_first(scope)[:ANSWERS]
    for m in shown:
        member = scope.members[m]
        votes = {options[k]: float(share[i, m, k]) for k in np.flatnonzero(share[i, m])}
        own = words.get(member.model, {})
        said[scope.name(member)] = {
            "votes": dict(sorted(votes.items(), key=lambda item: (-item[1], item[0]))),
            "value": _cut(own["value"], ANSWER) if "value" in own else None,
            "rationale": _cut(own["rationale"], ANSWER) if "rationale" in own else None,
        }
    record = cases.records[i]
    reference = record.get("reference")
    return {
        "case": cases.ids[i],
        "type": cases.strata[i],
        "complexity": record.get("complexity"),
        "tags": list(record.get("tags", ())),
        "shown": _texts(cases.visible(i)),
        "right": [_cut(name, ANSWER) for name in gold[:6]],
        "reference": None if reference is None else _cut(reference, ANSWER),
        "answers": said,
        "more_models": len(scope.members) - len(shown),
    }


def _shown_first(scope: Scope) -> list[int]:
    """The frontier, then the panel, then the others."""
    rank = {member: place for place, member in enumerate(scope.panel, 1)}
    rank[scope.frontier] = 0
    return sorted(
        range(len(scope.members)), key=lambda m: (rank.get(scope.members[m], len(rank)), m)
    )


def _texts(visible: Mapping[str, Any]) -> list[list[str]]:
    """What the judge saw, as (name, text), cut to what a person will read."""
    found: list[list[str]] = []
    for name, value in visible.items():
        if name == "messages" and isinstance(value, list):
            found += [[str(m.get("role")), _cut(m.get("content"), TEXT)] for m in value]
        elif name in {"options", "option_texts", "items"} and isinstance(value, Sequence):
            if name == "option_texts" and (not any(value) or list(value) == visible.get("options")):
                continue
            found.append([name.replace("_", " "), _cut(" · ".join(map(str, value)), TEXT)])
        elif value not in (None, "", []):
            found.append([name, _cut(value, TEXT)])
    return found


def _cut(value: Any, most: int) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _words(folder: Path, wanted: set[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Case → model → the first answer's own value and rationale, of a live run."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for name in ("answers.jsonl.gz", "answers.jsonl"):
        path = folder / name
        if not path.exists():
            continue
        for _, raw in numbered_lines(path):
            try:
                line = parse_json(raw or b"")
                case, model = str(line["case"]), str(line["model"])
            except (ValueError, KeyError, TypeError):
                continue  # counted and named when the run was read
            if case in wanted and line.get("answer") is not None:
                own = {k: line[k] for k in ("value", "rationale") if line.get(k)}
                found[case].setdefault(model, own)
    return found
