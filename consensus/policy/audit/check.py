"""What an audit lacks, contradicts or only seems to say: findings with file, line, key and fix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from itertools import pairwise

from consensus.errors import ConsensusError
from consensus.policy._checking import Prices
from consensus.policy._lines import KeyPath
from consensus.policy.audit.model import Audit, AuditTask
from consensus.policy.audit.needs import certificate_need
from consensus.policy.findings import Code, Finding, Level, dotted, suggest
from consensus.policy.oracles import oracle_of, why_no_gate
from consensus.policy.route import Route, route_type
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable
from consensus.tasks import Kind

__all__ = ["HOP_S", "SUM_TOLERANCE", "check_audit"]

SUM_TOLERANCE = 0.005
"""Shares of categories may miss 1 by this much: a third is written .33."""

HOP_S = 2.5
"""Seconds that a hop is taken to need where nothing is measured: an escalation costs 2 to 3."""

FEWEST_ROWS = 3
"""With fewer task types, consequence and complexity that go together may well be chance."""

CLOSED: frozenset[Kind] = frozenset({"approve", "choose", "compare", "rank", "score"})

_RANK = {"low": 0, "medium": 1, "high": 2, "irreversible": 3}


def check_audit(
    audit: Audit,
    *,
    table: PolicyTable | None = None,
    prices: Prices | None = None,
    judged: Collection[str] = (),
) -> list[Finding]:
    """Everything that is wrong or looks wrong with an audit, errors and warnings, in file order.

    Args:
        audit: what is checked.
        table: the policy it is held against: oracles, rows, routes. None: the audit alone.
        prices: where windows are looked up; lengths are not held against windows without it.
        judged: task types whose own suite holds an oracle for them, so that the policy need not.
    """
    found = _Found(audit)
    if not audit.tasks:
        found.add("error", "empty", (), "holds no task type", "add [tasks.NAME], or audit init")
    for name, task in audit.tasks.items():
        _said(found, name, task)
        _consequence(found, name, task, table)
        _traffic(found, name, task)
        _form(found, name, task, table)
        if table is not None:
            _against(found, name, task, table, prices, judged=name in judged)
    _derived(found, audit)
    if table is not None:
        _not_audited(found, audit, table)
    return sorted(found.items, key=lambda f: (f.file or "", f.line or 0, f.key, f.message))


class _Found:
    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.items: list[Finding] = []

    def add(
        self, level: Level, code: Code, path: KeyPath, message: str, fix: str | None = None
    ) -> None:
        place = self.audit.place(*path)
        self.items.append(
            Finding(
                level,
                code,
                dotted(path),
                message,
                fix,
                place.file if place else self.audit.source,
                place.line if place else None,
            )
        )


def _said(found: _Found, name: str, task: AuditTask) -> None:
    """What only a person can know."""
    if not task.owner.strip():
        found.add(
            "error",
            "owner",
            ("tasks", name, "owner"),
            "nobody answers for this task type",
            'owner = "TEAM OR PERSON"',
        )
    if not task.description.strip():
        found.add(
            "warning",
            "empty",
            ("tasks", name, "description"),
            "does not say what is asked; synthetic cases are written from it",
            'description = "…"',
        )
    if not task.on_wrong.strip():
        found.add(
            "error" if _RANK[task.consequence] >= _RANK["high"] else "warning",
            "wrong-answer",
            ("tasks", name, "on_wrong"),
            f"consequence {task.consequence}, and not said what happens on a wrong answer",
            'on_wrong = "what happens, to whom, and how it is put right"',
        )
    if not task.oracle:
        found.add(
            "error",
            "oracle",
            ("tasks", name, "oracle"),
            "no oracle: nobody can tell an acceptable answer from another",
            'oracle = "NAME", declared as [oracles.NAME] in strategies/',
        )


def _consequence(found: _Found, name: str, task: AuditTask, table: PolicyTable | None) -> None:
    path = ("tasks", name)
    need = certificate_need(task, table)
    if task.gate is None and need.gate:
        lasting = task.consequence == "irreversible"
        found.add(
            "error" if lasting else "warning",
            "no-gate",
            (*path, "consequence"),
            f"{task.consequence}, and no gate stands before the downstream action",
            'gate = "NAME" of an oracle without labels: routing lowers the bill, a gate the damage',
        )
    usual = certificate_need(task.model_copy(update={"floor": None, "delta": None}), table)
    if task.floor is not None and task.floor < usual.floor:
        found.add(
            "warning",
            "floor",
            (*path, "floor"),
            f"is below what consequence {task.consequence} asks for, {usual.floor:g}",
            "say a lower consequence if that is what is meant",
        )
    if task.adversarial_share == 0 and _RANK[task.consequence] >= _RANK["high"]:
        found.add(
            "warning",
            "adversarial",
            (*path, "adversarial_share"),
            f"consequence {task.consequence}, and no input is expected to mislead",
            "adversarial_share = 0.05, say: what matters attracts attempts",
        )


def _traffic(found: _Found, name: str, task: AuditTask) -> None:
    path = ("tasks", name)
    if task.monthly_volume == 0:
        found.add(
            "error",
            "volume",
            (*path, "monthly_volume"),
            "no traffic: it has no share of the sample and nothing to save",
            "estimate it; the order of magnitude is enough",
        )
    if task.categories:
        total = sum(category.share for category in task.categories.values())
        if abs(total - 1) > SUM_TOLERANCE:
            found.add(
                "error",
                "share",
                (*path, "categories"),
                f"the shares sum to {total:.3g}, not 1",
                'add a category "other" for the rest' if total < 1 else "lower one of them",
            )


def _form(found: _Found, name: str, task: AuditTask, table: PolicyTable | None) -> None:
    """What a task of this kind cannot be asked, judged or written without."""
    path = ("tasks", name)
    row = (table.tasks.get(name) if table is not None else None) or TaskRow()
    if task.kind in CLOSED and not task.structured:
        found.add(
            "error",
            "kind",
            (*path, "structured"),
            f"is false, but the answer of kind {task.kind} is from a closed set",
            "structured = true",
        )
    if (
        task.kind == "generate"
        and task.structured
        and not (task.output_schema or row.output_schema)
    ):
        found.add(
            "warning",
            "kind",
            (*path, "structured"),
            "is true, and there is no schema that an answer could be held against",
            f"[tasks.{name}.schema], a JSON Schema",
        )
    if task.kind == "choose" and not (task.options or row.options):
        found.add(
            "warning",
            "kind",
            (*path, "kind"),
            "choose, and no options are given here or in the policy's row",
            'options = ["…", "…"]',
        )
    if task.kind == "score" and not (task.scale or row.scale):
        found.add(
            "warning",
            "kind",
            (*path, "kind"),
            "score, and no scale is given here or in the policy's row",
            "scale = [1, 10]",
        )
    if task.suite is not None and not (found.audit.root / task.suite / "suite.toml").is_file():
        found.add(
            "error",
            "suite",
            (*path, "suite"),
            "is no folder with a suite.toml",
            "consensus audit profile makes one",
        )


def _against(
    found: _Found,
    name: str,
    task: AuditTask,
    table: PolicyTable,
    prices: Prices | None,
    *,
    judged: bool,
) -> None:
    """The audit held against the policy: names, row, route."""
    path = ("tasks", name)
    for key in ("oracle", "gate"):
        wanted = getattr(task, key)
        if wanted and wanted not in table.oracles and not (key == "oracle" and judged):
            elsewhere = ""
            if key == "oracle":
                elsewhere = (
                    ", and the audit names no suite that could hold it"
                    if task.suite is None
                    else f", and {found.audit.root / task.suite} has no task type {name}"
                )
            found.add(
                "error",
                "unknown-name",
                (*path, key),
                f'"{wanted}" is no oracle of {table.source}{elsewhere}',
                suggest(wanted, list(table.oracles)) or f"add [oracles.{wanted}] there",
            )
    if task.gate and task.gate in table.oracles:
        try:
            reason = why_no_gate(oracle_of(table, task.gate))
        except ConsensusError as error:
            reason = str(error)
        if reason:
            found.add("error", "no-gate", (*path, "gate"), f"cannot be a gate: it {reason}")
    row = table.tasks.get(name)
    if row is None:
        return
    if row.kind is not None and row.kind != task.kind:
        where = table.cite("tasks", name, "kind")
        found.add("error", "kind", (*path, "kind"), f"{task.kind} here, {row.kind} in {where}")
    if row.consequence is not None and row.consequence != task.consequence:
        weaker = _RANK[row.consequence] < _RANK[task.consequence]
        where = table.cite("tasks", name, "consequence")
        found.add(
            "error" if weaker else "warning",
            "kind",
            (*path, "consequence"),
            f"{task.consequence} here, {row.consequence} in {where}",
            "the audit is where it is decided; change one of them",
        )
    try:
        way = route_type(table, name)
    except ConsensusError:
        return  # the policy's own check says what is wrong with its row
    _latency(found, name, task, way)
    if prices is not None:
        _windows(found, name, task, way, prices)


def _latency(found: _Found, name: str, task: AuditTask, way: Route) -> None:
    if task.latency is None:
        return
    path = ("tasks", name, "latency")
    need, hops = task.latency.p95_s, len(way.hops)
    profile = way.row.profile
    if profile is not None and profile.latency_p95_s > 0:
        if profile.latency_p95_s > need:
            found.add(
                "error",
                "latency",
                path,
                f"wants {need:g} s, and the profile of its route measured "
                f"{profile.latency_p95_s:.1f} s",
                "a faster route, or an honest need",
            )
    elif hops > 1 and hops * HOP_S > need:
        found.add(
            "warning",
            "latency",
            path,
            f"wants {need:g} s, and its route has {hops} hops: taken at {HOP_S:g} s each, one that "
            f"escalates needs {hops * HOP_S:g} s",
            "one hop, escalate_to = [], or measure it",
        )
    if task.latency.interactive and hops > 1:
        found.add(
            "warning",
            "latency",
            (*path, "interactive"),
            f"a person waits, and its route has {hops} hops",
            "cascades suit work in the background; a single stronger tier suits a person",
        )


def _windows(found: _Found, name: str, task: AuditTask, way: Route, prices: Prices) -> None:
    wanted = task.input_tokens.p95 + task.output_tokens.p95
    guard = way.row.context_guard or 0.8
    for model in dict.fromkeys(way.hops[0].models):
        window = prices.window(model)
        if window.known and wanted > guard * window.max_input:
            found.add(
                "warning",
                "window",
                ("tasks", name, "input_tokens"),
                f"p95 with its answer is {wanted:,} tokens, over {guard:.0%} of {model}'s "
                f"{window.max_input:,}: these skip it",
                "a rule on min_input_tokens that takes them to a larger window",
            )


def _derived(found: _Found, audit: Audit) -> None:
    """Consequence that only repeats complexity: a short prompt is not a low stake."""
    rows = list(audit.tasks.items())
    if len(rows) < FEWEST_ROWS:
        return
    images: dict[int, set[int]] = defaultdict(set)
    for _, task in rows:
        images[_RANK[task.complexity]].add(_RANK[task.consequence])
    if len(images) < 2 or any(len(image) > 1 for image in images.values()):
        return
    line = [next(iter(images[level])) for level in sorted(images)]
    if any(low >= high for low, high in pairwise(line)):
        return
    same = all(_RANK[task.complexity] == _RANK[task.consequence] for _, task in rows)
    how = "equals complexity" if same else "follows from complexity"
    found.add(
        "warning",
        "derived",
        ("tasks", rows[0][0], "consequence"),
        f"consequence {how} in all {len(rows)} task types: it looks derived, not asked",
        "ask for each type what a wrong answer does; a simple question can be a dear one",
    )


def _not_audited(found: _Found, audit: Audit, table: PolicyTable) -> None:
    missing = [name for name in table.tasks if name not in audit.tasks]
    if missing:
        shown = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if missing[6:] else "")
        found.add(
            "warning",
            "not-audited",
            (),
            f"{table.source} has rows that are not audited: {shown}",
            "add them here, or take the rows out",
        )
