"""Which way a task goes, and why: rules only, no call of any model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from consensus.ballots import PICO
from consensus.errors import TaskError
from consensus.orchestrators.panel_session import BYTES_PER_TOKEN
from consensus.policy.demotion import demotion_of, standing
from consensus.policy.hops import is_multi_hop, is_open_domain
from consensus.policy.mix import coin_of, toss
from consensus.policy.resolve import Hop, Resolved, hops_of, resolve, row_path, shadow_hop
from consensus.policy.rows import Mixed, TaskRow, When
from consensus.policy.table import PolicyTable
from consensus.tasks import Generate, Kind, Task

__all__ = ["BYTES_PER_TOKEN", "Hop", "Route", "estimate_tokens", "route", "route_type"]

_EXPECTED_OUTPUT: dict[Kind, int] = {
    "approve": 150,
    "choose": 150,
    "compare": 150,
    "rank": 250,
    "score": 150,
    "generate": 800,
}
"""Tokens of an answer with a short rationale, where the row expects none."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one task type (and, with ``when`` rules, of one task).

    Attributes:
        row: the row with everything inherited; ``max_usd``, ``deadline_s`` and ``consequence``
            bind the whole decision.
        hops: the first choice, then every escalation.
        reasons: in words, each with its file and line.
        others: hops of the other strategies of a mixture, which other tasks of the row get.
    """

    task_type: str
    row: TaskRow
    hops: tuple[Hop, ...]
    reasons: tuple[str, ...]
    others: tuple[Hop, ...] = ()

    @property
    def budget_pico(self) -> int | None:
        """The cap on the whole decision, in pico-dollars."""
        usd = self.row.max_usd
        return None if usd is None else round(usd * PICO)

    @property
    def deadline_s(self) -> float | None:
        """Seconds for the whole decision."""
        return self.row.deadline_s

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that this row can reach, fallbacks included, each once."""
        found: dict[str, None] = {}
        for hop in (*self.hops, *self.others):
            found |= dict.fromkeys((*hop.models, *hop.spec.fallbacks))
        return tuple(found)


def estimate_tokens(task: Task) -> int:
    """A task's length in tokens, by its bytes."""
    size = sum(len(text.encode()) for text in task.texts())
    return -(-size // BYTES_PER_TOKEN)


def expected_output(row: TaskRow, kind: Kind | None) -> int:
    """Tokens of a typical answer: the row's, else a usual number for the kind."""
    return row.expected_output_tokens or _EXPECTED_OUTPUT[kind or row.kind or "approve"]


def route(table: PolicyTable, task: Task, *, category: str | None = None) -> Route:
    """The route of a task.

    ``category`` is what the policy's classifier says of it; None where it says nothing, so that no
    rule on a category matches.

    Raises:
        TaskError: if the row is for another kind of task.
        PolicyError: if the row cannot be followed (a strict load finds that earlier).
    """
    return _demoted(table, task.type, task, category) or _route(table, task.type, task, category)


def route_type(table: PolicyTable, task_type: str) -> Route:
    """The route of a task type before any ``when`` rule looks at a task.

    Of a row that mixes strategies it is the first one's; ``others`` holds the rest.
    """
    return _demoted(table, task_type) or _route(table, task_type, None)


def _demoted(
    table: PolicyTable, task_type: str, task: Task | None = None, category: str | None = None
) -> Route | None:
    """The way of a demoted row, under the row's own rules: that of an earlier certificate, else its
    strongest step alone. None where the row is not demoted.
    """
    demotion = demotion_of(table, task_type) if table.demoted else None
    if demotion is None:
        return None
    since = f"{table.cite('demoted', task_type)}: since {demotion.since}"
    earlier = standing(table, task_type)
    if earlier is not None:
        stood, earned = earlier
        way = _route(stood, task_type, task, category)
        said = f"{since} by its certificate of {earned.certificate.date}: {demotion.why}"
        return replace(way, reasons=(*way.reasons, said))
    way = _route(table, task_type, task, category)
    last = way.hops[-1] if len(way.hops) > 1 else _frontier_hop(table, way)
    reasons = (*way.reasons, f"{since} by {last.name} alone: {demotion.why}")
    row = way.row
    if row.shadow is not None and _is_shadow(table, way, last):
        row = row.model_copy(update={"shadow": None})
        reasons = (*reasons, f"no shadow: {last.name} is what it would be compared with")
    return replace(way, row=row, hops=(last,), reasons=reasons, others=())


def _is_shadow(table: PolicyTable, way: Route, hop: Hop) -> bool:
    """Whether a row's shadow would ask the very panel that answers already."""
    key = ("shadow", way.task_type, hop.name)
    found = table._routes.get(key)
    if found is None:
        shadow = shadow_hop(table, resolve(table, way.task_type, kind=way.row.kind))
        found = table._routes[key] = shadow is not None and (
            (shadow.spec.orchestrator, shadow.seat_models())
            == (hop.spec.orchestrator, hop.seat_models())
        )
    return bool(found)


def _frontier_hop(table: PolicyTable, way: Route) -> Hop:
    """The step that stands in for a row which escalates to nobody; its own where there is none."""
    key = ("demoted", way.task_type)
    found = table._routes.get(key)
    if isinstance(found, Hop):
        return found
    last = way.hops[-1]
    if "frontier" in table.tiers:
        row = table.tasks[way.task_type].model_copy(update={"escalate_to": ("frontier",)})
        longer = table.model_copy(update={"tasks": {**table.tasks, way.task_type: row}})
        longer._routes = {}
        last = _route(longer, way.task_type, None).hops[-1]
    table._routes[key] = last
    return last


def _route(
    table: PolicyTable, task_type: str, task: Task | None, category: str | None = None
) -> Route:
    path = row_path(table, task_type)
    row = table.tasks.get(task_type)
    if row is not None and task is not None and row.kind not in (None, task.kind):
        raise TaskError(
            f'a task of type "{task_type}" is of kind {row.kind}, not {task.kind}',
            where=table.cite(*path),
            fix="use another type, or change the row's kind",
        )
    rules = (row.when if row is not None else None) or table.defaults.when or ()
    matched = None
    if task is not None and rules:
        typical = resolve(table, task_type).row
        matched = next(
            (i for i, rule in enumerate(rules) if _matches(rule, task, typical, category)), None
        )
    kind = task.kind if task is not None else row.kind if row is not None else None
    compiled = _compiled(table, path, matched, kind, 0)
    mix = resolve(table, task_type, matched, kind=kind).mix if _may_mix(table, row) else ()
    said: tuple[str, ...] = ()
    if mix:
        arm = toss(mix, coin_of(task)) if task is not None else 0
        compiled = _compiled(table, path, matched, kind, arm)
        others = (
            hop
            for other in range(len(mix))
            if other != arm
            for hop in _compiled(table, path, matched, kind, other).hops
        )
        compiled = replace(compiled, others=tuple(others))
        said = (_mix_reason(mix, arm, tossed=task is not None),)
    if task_type == compiled.task_type and not mix:
        return compiled
    reasons = (*_reasons(table, task_type, path, matched), *said)
    return Route(task_type, compiled.row, compiled.hops, reasons, compiled.others)


def _may_mix(table: PolicyTable, row: TaskRow | None) -> bool:
    return table.defaults.mix is not None or (row is not None and row.mix is not None)


def _mix_reason(mix: tuple[Mixed, ...], arm: int, *, tossed: bool) -> str:
    shares = ", ".join(f"{part.strategy} {part.share:.1%}" for part in mix)
    if not tossed:
        return f"a mix of {shares}; by a hash of the task, here: {mix[arm].strategy}"
    return f"mix {shares}: the hash of the task fell on {mix[arm].strategy}"


def _compiled(
    table: PolicyTable,
    path: tuple[str | int, ...],
    matched: int | None,
    kind: Kind | None,
    arm: int,
) -> Route:
    """Routes are the same for every task of a row, rule and arm: worked out once a table."""
    key = (path, matched, kind, arm)
    found = table._routes.get(key)
    if isinstance(found, Route):
        return found
    task_type = str(path[1]) if len(path) == 2 else ""
    resolved: Resolved = resolve(table, task_type, matched, kind=kind, arm=arm)
    made = Route(
        task_type=task_type,
        row=resolved.row,
        hops=hops_of(table, resolved),
        reasons=_reasons(table, task_type, path, matched),
    )
    table._routes[key] = made
    return made


def _reasons(
    table: PolicyTable, task_type: str, path: tuple[str | int, ...], matched: int | None
) -> tuple[str, ...]:
    if len(path) == 2:
        said = [f"row {table.cite(*path)}"]
    else:
        said = [f'no row for type "{task_type}": {table.cite("defaults")} row']
    if matched is not None:
        row = table.tasks.get(task_type)
        owner = path if row is not None and row.when else ("defaults",)
        rules = (row.when if row is not None else None) or table.defaults.when or ()
        asked = ", ".join(f"{k} = {_toml(v)}" for k, v in rules[matched].conditions.items())
        said.append(f"rule {table.cite(*owner, 'when', matched)}: {asked}")
    return tuple(said)


def _toml(value: int | bool | str) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _matches(rule: When, task: Task, row: TaskRow, category: str | None) -> bool:
    length = estimate_tokens(task)
    answer = expected_output(row, task.kind)
    structured = not isinstance(task, Generate) or task.output_schema is not None
    options = len(task.options)
    return (
        (rule.min_input_tokens is None or length >= rule.min_input_tokens)
        and (rule.max_input_tokens is None or length <= rule.max_input_tokens)
        and (rule.min_expected_output_tokens is None or answer >= rule.min_expected_output_tokens)
        and (rule.max_expected_output_tokens is None or answer <= rule.max_expected_output_tokens)
        and (rule.structured is None or structured == rule.structured)
        and (rule.min_options is None or options >= rule.min_options)
        and (rule.max_options is None or options <= rule.max_options)
        and (rule.multi_hop is None or is_multi_hop(task) == rule.multi_hop)
        and (rule.open_domain is None or is_open_domain(task) == rule.open_domain)
        and (rule.category is None or rule.category == category)
    )
