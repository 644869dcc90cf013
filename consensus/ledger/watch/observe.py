"""What is new in the ledger since the last look: read once, in pages, by time and id."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from consensus.ballots import PICO
from consensus.ledger.receipts import plain_bytes
from consensus.ledger.rows import SECONDS_A_DAY
from consensus.models.protocol import BESIDE

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consensus.ledger.store import Ledger
    from consensus.ledger.watch.baseline import Baseline

__all__ = ["SETTLE_S", "Cursor", "Seen", "observe"]

SETTLE_S = 1.0
"""Decisions younger than so many seconds wait for the next look: a record may still be on its way.
One that took longer to be written is never counted, which loses a decision and skews nothing."""

PAGE = 500

MOST_PAGES = 200
"""A look reads at most so many pages; a long history is taken in over several looks."""

_NOT_THE_PANEL = (*sorted(BESIDE), "grade", "classify")
"""Calls that a profile does not count: a gate's grader, and the classifier's."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the ledger was read.

    Attributes:
        at, receipt_id: the last decision that was counted.
        shadows_at: shadows kept up to this time were counted.
        turn: raised with every look and every acknowledgement, so that of two at once one wins.
    """

    at: float = 0.0
    receipt_id: str = ""
    shadows_at: float = 0.0
    turn: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(slots=True)
class Seen:
    """The new decisions of one row on one day.

    Attributes:
        n: decisions.
        further: those that needed another hop.
        undecided: those that ended as escalate or abstain.
        refused: those of which the gate refused an outcome.
        usd, output: of the panel, a decision each: dollars, output tokens.
        compared, differed: shadows with an outcome on both sides; those that differ.
        served: model asked for → models that answered.
    """

    n: int = 0
    further: int = 0
    undecided: int = 0
    refused: int = 0
    usd: list[float] = field(default_factory=list)
    output: list[float] = field(default_factory=list)
    compared: int = 0
    differed: int = 0
    served: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def observe(
    ledger: Ledger, cursor: Cursor, watched: Mapping[str, Baseline], *, now: float
) -> tuple[Cursor, dict[tuple[str, int], Seen], int]:
    """Read what is new.

    Args:
        ledger: an open ledger.
        cursor: where the last look ended.
        watched: the task types that are watched; others are passed over. Of those with a gate the
            receipts are opened for its verdicts.
        now: seconds since 1970.

    Returns:
        the new cursor; what was seen, by task type and day; how many decisions were read.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    until = now - SETTLE_S
    begins = {name: baseline.begins for name, baseline in watched.items()}
    gated = [name for name, baseline in watched.items() if baseline.gated]
    graded = {name for name, baseline in watched.items() if baseline.graded}
    seen: dict[tuple[str, int], Seen] = defaultdict(Seen)
    read = 0
    if not begins:
        return Cursor(until, "", until, cursor.turn), {}, 0
    if not cursor.at:
        cursor = Cursor(min(begins.values()) - 1e-6, "", cursor.shadows_at, cursor.turn)
    for _ in range(MOST_PAGES):
        rows, sums = ledger.read(partial(_page, cursor=cursor, until=until, gated=gated))
        for row in rows:
            if row["created_at"] >= begins.get(row["task_type"], float("inf")):
                name = row["task_type"]
                refused = row["receipt"] is not None and _refused(row["receipt"])
                if not (refused and name in graded):
                    one = seen[name, row["day"]]
                    one.refused += refused
                    _count(one, row, sums.get(row["receipt_id"], []))
        read += len(rows)
        if rows:
            last = rows[-1]
            cursor = Cursor(last["created_at"], last["receipt_id"], cursor.shadows_at, cursor.turn)
        if len(rows) < PAGE:
            break
    for task_type, day, n, same in ledger.read(lambda c: _shadows(c, cursor.shadows_at, until)):
        if (day + 1) * SECONDS_A_DAY > begins.get(task_type, float("inf")):
            one = seen[task_type, day]
            one.compared += n
            one.differed += n - same
    return Cursor(cursor.at, cursor.receipt_id, until, cursor.turn), dict(seen), read


def _page(
    connection: Connection, cursor: Cursor, until: float, gated: Sequence[str]
) -> tuple[Sequence[Any], dict[str, list[Any]]]:
    from sqlalchemy import and_, case, func, or_, select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    query = (
        select(
            d.c.receipt_id, d.c.task_type, d.c.action, d.c.hops, d.c.cost_pico, d.c.created_at,
            d.c.day,
            case((d.c.task_type.in_(gated), d.c.receipt), else_=None).label("receipt"),
        )
        .where(
            d.c.created_at >= cursor.at,
            d.c.created_at <= until,
            or_(
                d.c.created_at > cursor.at,
                and_(d.c.created_at == cursor.at, d.c.receipt_id > cursor.receipt_id),
            ),
        )
        .order_by(d.c.created_at, d.c.receipt_id)
        .limit(PAGE)
    )  # fmt: skip
    rows = connection.execute(query).mappings().all()
    beside = c.c.purpose.in_(_NOT_THE_PANEL)
    ours = and_(~c.c.purpose.in_(sorted(BESIDE)), c.c.replayed.is_(False))
    totals = (
        select(
            c.c.decision_id,
            c.c.requested_model,
            c.c.served_model,
            func.sum(case((beside, 0), else_=c.c.output_tokens)).label("output"),
            func.sum(case((and_(beside, ours), c.c.cost_pico), else_=0)).label("apart_pico"),
            func.sum(case((and_(~beside, ours), 1), else_=0)).label("panel"),
        )
        .where(c.c.decision_id.in_([row["receipt_id"] for row in rows]))
        .group_by(c.c.decision_id, c.c.requested_model, c.c.served_model)
    )
    sums: dict[str, list[Any]] = defaultdict(list)
    if rows:
        for one in connection.execute(totals).mappings():
            sums[one["decision_id"]].append(one)
    return rows, sums


def _shadows(connection: Connection, since: float, until: float) -> Iterator[tuple[Any, ...]]:
    from sqlalchemy import case, func, select

    from consensus.ledger.schema import shadows as s

    query = (
        select(
            s.c.task_type, s.c.day, func.count(), func.sum(case((s.c.agrees.is_(True), 1), else_=0))
        )
        .where(s.c.agrees.is_not(None), s.c.created_at > since, s.c.created_at <= until)
        .group_by(s.c.task_type, s.c.day)
    )
    return iter(
        [(row[0], int(row[1]), int(row[2]), int(row[3])) for row in connection.execute(query)]
    )


def _count(one: Seen, row: Any, sums: Sequence[Any]) -> None:
    one.n += 1
    one.further += row["hops"] > 1
    one.undecided += row["action"] != "act"
    apart = sum(int(part["apart_pico"]) for part in sums)
    one.usd.append(max(0, row["cost_pico"] - apart) / PICO)
    one.output.append(float(sum(int(part["output"]) for part in sums)))
    for part in sums:
        if part["served_model"] is not None and part["panel"]:
            one.served[part["requested_model"]].add(part["served_model"])


def _refused(receipt: bytes) -> bool:
    """Whether a gate refused an outcome on the way, or had no verdict, which is no pass."""
    raw = json.loads(plain_bytes(receipt))
    for hop in raw.get("hops", ()):
        gates = {
            check["oracle"]: check.get("floor")
            for check in hop.get("checks", ())
            if check.get("purpose") == "gate"
        }
        for said in hop.get("judgements", ()):
            if said.get("of", "outcome") != "outcome" or said.get("oracle") not in gates:
                continue
            floor, score = gates[said["oracle"]], said.get("score")
            if said.get("passed") is None or score is None:
                return True
            if not (said["passed"] if floor is None else score >= floor - 1e-9):
                return True
    return False
