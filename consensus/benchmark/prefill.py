"""What traffic that is there already says of its task types: for the draft of an audit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consensus.errors import DataError
from consensus.policy.audit.draft import Known
from consensus.policy.audit.model import Lengths
from consensus.strangers import numbered_lines, parse_json
from consensus.tasks import KINDS, Kind

if TYPE_CHECKING:
    from consensus.ledger.store import Ledger

__all__ = ["from_ledger", "from_run"]

DAYS = 30
"""What a month is, for volumes."""

MAX_CALLS = 200_000
"""The latest so many calls are looked at."""


def from_ledger(ledger: Ledger, *, now: float) -> tuple[Known, ...]:
    """Volumes and lengths of the last thirty days, by task type.

    A ledger that is younger than that counts as so many days as it has. Lengths are those of the
    calls that went out, instructions included.

    Args:
        ledger: an open ledger.
        now: seconds since 1970, UTC.
    """
    from sqlalchemy import func, select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    since = now - DAYS * 86_400
    decided = (
        select(d.c.task_type, d.c.kind, func.count().label("n"), func.min(d.c.created_at))
        .where(d.c.created_at >= since)
        .group_by(d.c.task_type, d.c.kind)
    )
    asked = (
        select(
            c.c.task_type,
            c.c.input_tokens + c.c.cache_read_tokens + c.c.cache_write_tokens
            + c.c.cache_write_1h_tokens,
            c.c.output_tokens,
        )
        .where(c.c.started_at >= since, c.c.failure.is_(None), c.c.replayed.is_(False))
        .order_by(c.c.started_at.desc())
        .limit(MAX_CALLS)
    )  # fmt: skip
    rows, calls = ledger.read(lambda link: (link.execute(decided).all(), link.execute(asked).all()))
    sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, tokens_in, tokens_out in calls:
        sizes[name].append((int(tokens_in), int(tokens_out)))
    first = min((float(row[3]) for row in rows), default=now)
    days = min(DAYS, max(1.0, (now - first) / 86_400))
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for name, kind, n, _ in rows:
        counts[name][kind] = int(n)
    return tuple(
        Known(
            name,
            f"{sum(kinds.values()):,} decisions in the ledger",
            kind=_kind(max(sorted(kinds), key=lambda kind: kinds[kind])),
            monthly_volume=round(sum(kinds.values()) * DAYS / days),
            input_tokens=_lengths([size for size, _ in sizes[name]]),
            output_tokens=_lengths([size for _, size in sizes[name]]),
        )
        for name, kinds in sorted(counts.items())
    )


def from_run(folder: str | Path) -> tuple[Known, ...]:
    """Task types, kinds and lengths of a run folder, such as ``consensus bench import`` writes.

    Raises:
        DataError: the folder holds no cases, or they cannot be read.
    """
    path = Path(folder)
    types: dict[str, dict[str, Any]] = {}
    case_type: dict[str, str] = {}
    for case in _lines(path / "cases.jsonl"):
        name = str(case.get("task_type", ""))
        case_type[str(case.get("case_id"))] = name
        types.setdefault(name, case)
    sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    if (path / "answers.jsonl").exists():
        for line in _lines(path / "answers.jsonl"):
            size = line.get("prompt_tokens"), line.get("completion_tokens")
            if isinstance(size[0], int) and isinstance(size[1], int):
                sizes[case_type.get(str(line.get("case")), "")].append((size[0], size[1]))
    found = []
    for name, case in types.items():
        kind = _kind(case.get("task_kind"))
        options = tuple(map(str, case.get("options", ()))) if kind == "choose" else None
        found.append(
            Known(
                name,
                str(path),
                kind=kind,
                criteria=case.get("criteria") if kind != "generate" else None,
                options=options if options and len(set(options)) > 1 else None,
                scale=tuple(case["scale"]) if kind == "score" and "scale" in case else None,
                input_tokens=_lengths([size for size, _ in sizes[name]]),
                output_tokens=_lengths([size for _, size in sizes[name]]),
            )
        )
    return tuple(found)


def _kind(value: object) -> Kind | None:
    return next((kind for kind in KINDS if kind == value), None)


def _lengths(sizes: Sequence[int]) -> Lengths | None:
    if not sizes:
        return None
    ordered = sorted(max(1, size) for size in sizes)
    last = len(ordered) - 1
    return Lengths(p50=ordered[round(0.5 * last)], p95=ordered[round(0.95 * last)])


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    for number, raw in numbered_lines(path):
        try:
            row = parse_json(raw or b"")
        except ValueError:
            raise DataError("is not JSON", where=f"{path}:{number}") from None
        if not isinstance(row, dict):
            raise DataError("is not an object", where=f"{path}:{number}")
        yield row
