"""What a row comes to, once the strategy it names and ``[defaults]`` have said their part.

Precedence, key by key: a matching ``when`` rule, the row, its named strategy, ``[defaults]``. A
sub-table (``losses``, ``stop``, …) is one value: the higher one replaces the lower one whole.
``tier`` and ``models`` are one choice: giving either replaces both. So are ``aggregator`` and
``calibration``, since a calibration belongs to one aggregator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from consensus.errors import PolicyError
from consensus.orchestrators.checks import Check
from consensus.orchestrators.spec import (
    Acceptance,
    OrchestratorName,
    StrategySpec,
)
from consensus.policy._acting import armed
from consensus.policy._lines import KeyPath
from consensus.policy.oracles import scored_by
from consensus.policy.rows import (
    BUILT_IN,
    CONDITIONS,
    Cascade,
    DefaultsRow,
    Mixed,
    PanelFields,
    TaskRow,
    When,
)
from consensus.policy.specs import (
    DEFAULT_SEATS,
    calibration_of,
    expand_framings,
    expand_models,
    is_model,
    spec_of,
)
from consensus.policy.table import PolicyTable
from consensus.tasks import Kind

__all__ = [
    "DEFAULT_SEATS",
    "Hop",
    "Resolved",
    "calibration_of",
    "escalations",
    "expand_framings",
    "expand_models",
    "first_hop",
    "hops_of",
    "is_model",
    "resolve",
    "row_path",
    "shadow_hop",
]

DEFAULT_ACCEPT = 0.9
"""What a cascade asks of a step where its row gives no thresholds. Not measured: set your own."""

RULES = (
    "losses",
    "alpha",
    "conformal",
    "context_guard",
    "max_output_tokens",
    "cold_start",
    "latency",
    "hedge_after_s",
)
"""What belongs to the task and not to a panel: every hop of a row keeps it."""

_SHAPE = (
    "tier",
    "models",
    "seats",
    "quorum",
    "framings",
    "min_agreement",
    "veto",
    "aggregator",
    "calibration",
    "confidence_temperature",
    "fallback",
)
"""What belongs to one panel: an escalation brings its own. So a frontier call is asked plainly, and
never answered by the fallback of a smaller tier."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A row with everything it inherits.

    ``origin`` says for each given key which table it comes from, as a key path. ``mix`` is the
    mixture that the strategy was taken from, and ``arm`` its place in it.
    """

    path: KeyPath
    row: TaskRow
    strategy: str
    orchestrator: OrchestratorName
    origin: Mapping[str, KeyPath]
    mix: tuple[Mixed, ...] = ()
    arm: int = 0

    def key(self, name: str) -> KeyPath:
        """The full path of a key, in the table that gave it."""
        return (*self.origin.get(name, self.path), name)


@dataclass(frozen=True, slots=True)
class Hop:
    """One attempt at a route: the first choice, or an escalation.

    ``checks`` must be met before its outcome acts; ``oracle`` judges its candidates, where it asks
    for several.
    """

    name: str
    spec: StrategySpec
    path: KeyPath
    checks: tuple[Check, ...] = ()
    oracle: str | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The models that answer, in turn."""
        return self.spec.models

    @property
    def seats(self) -> int:
        """Places on the panel."""
        return self.spec.seats

    def seat_models(self) -> tuple[str, ...]:
        """The model of every seat."""
        return tuple(self.models[i % len(self.models)] for i in range(self.seats))


def row_path(table: PolicyTable, task_type: str | None) -> KeyPath:
    """``tasks.TYPE``, or ``defaults`` where the type has no row."""
    return ("tasks", task_type) if task_type in table.tasks else ("defaults",)


def resolve(
    table: PolicyTable,
    task_type: str | None,
    when: int | None = None,
    *,
    kind: Kind | None = None,
    arm: int = 0,
) -> Resolved:
    """Merge the layers of a row, with its ``when`` rule number ``when`` on top.

    ``kind`` is that of the task, for a row that does not say it. ``arm`` is the place in the row's
    mixture, where it has one.

    Raises:
        PolicyError: if the row names a strategy that is nowhere.
    """
    path = row_path(table, task_type)
    row: DefaultsRow = table.tasks[path[1]] if len(path) == 2 else table.defaults  # type: ignore[index]
    layers: list[tuple[KeyPath, PanelFields]] = [(("defaults",), table.defaults)]
    if row is not table.defaults:
        layers.append((path, row))
    if when is not None:
        rules, rules_path = _rules(layers)
        layers.append(((*rules_path, when), rules[when]))

    strategy, named_at, mix = "single", (*path, "strategy"), tuple[Mixed, ...]()
    for layer_path, layer in layers:
        if isinstance(layer, DefaultsRow | When) and layer.strategy is not None:
            strategy, named_at, mix = layer.strategy, (*layer_path, "strategy"), ()
        elif isinstance(layer, DefaultsRow) and layer.mix is not None:
            mix, named_at = layer.mix, (*layer_path, "mix", arm, "strategy")
    if mix:
        strategy = mix[arm].strategy
    if strategy in table.strategies:
        named = table.strategies[strategy]
        orchestrator = named.orchestrator
        layers.insert(1, (("strategies", strategy), named))
    elif strategy in BUILT_IN:
        orchestrator = strategy
    else:
        raise PolicyError(
            f'strategy "{strategy}" is nowhere',
            where=table.cite(*named_at),
            fix=f"known: {', '.join([*BUILT_IN, *sorted(table.strategies)])}",
        )
    values, origin = _merge(layers)
    values["strategy"] = strategy
    if kind is not None:
        values["kind"] = kind
    return Resolved(
        path=path,
        row=TaskRow.model_construct(**values),
        strategy=strategy,
        orchestrator=orchestrator,
        origin=origin,
        mix=mix,
        arm=arm if mix else 0,
    )


def _rules(layers: list[tuple[KeyPath, PanelFields]]) -> tuple[tuple[When, ...], KeyPath]:
    for path, layer in reversed(layers):
        if isinstance(layer, DefaultsRow) and layer.when is not None:
            return layer.when, (*path, "when")
    return (), ()


def _merge(
    layers: Iterable[tuple[KeyPath, PanelFields]],
) -> tuple[dict[str, Any], dict[str, KeyPath]]:
    values: dict[str, Any] = {}
    origin: dict[str, KeyPath] = {}
    for path, layer in layers:
        for name in layer.model_fields_set:
            value = getattr(layer, name)
            if value is None or name not in TaskRow.model_fields:
                continue
            if name in ("tier", "models"):
                values.pop("tier", None)
                values.pop("models", None)
            if name in ("aggregator", "calibration"):
                other = "calibration" if name == "aggregator" else "aggregator"
                if getattr(layer, other) is None:
                    values.pop(other, None)
            if name in CONDITIONS or (name == "description" and path[0] != "tasks"):
                continue
            values[name], origin[name] = value, path
    return values, origin


def hops_of(table: PolicyTable, resolved: Resolved) -> tuple[Hop, ...]:
    """Every hop of a row in order: its first choice (or a cascade's steps), then its escalations.

    A cascade is a route and no orchestrator of its own: each step is a hop that stops the walk only
    where the row's rule *and* the step's threshold are met; its ballots stay evidence for the next.

    Raises:
        PolicyError: as :func:`first_hop` and :func:`escalations` do; or thresholds that are not
            one for each step but the last.
    """
    after = escalations(table, resolved)
    if resolved.orchestrator != "cascade":
        return armed(table, resolved.row, (first_hop(table, resolved), *after))
    settings = resolved.row.cascade or Cascade()
    if settings.steps is None:
        steps = (first_hop(table, resolved), *after)
        rest: tuple[Hop, ...] = ()
    else:
        path = resolved.key("cascade")
        steps = tuple(_escalation(table, resolved, name, path) for name in settings.steps)
        rest = after
    return armed(table, resolved.row, (*_accepting(table, resolved, settings, steps), *rest))


def _accepting(
    table: PolicyTable, resolved: Resolved, settings: Cascade, steps: tuple[Hop, ...]
) -> tuple[Hop, ...]:
    thresholds = settings.thresholds or (DEFAULT_ACCEPT,)
    wanted = len(steps) - 1
    if len(thresholds) not in (1, wanted):
        raise PolicyError(
            f"{len(thresholds)} thresholds for {len(steps)} steps",
            where=table.cite(*resolved.key("cascade")),
            fix=f"give {wanted}, one for each step but the last, or one for all",
        )
    if wanted < 1:
        raise PolicyError(
            "a cascade of one step has nowhere to go",
            where=table.cite(*resolved.path),
            fix='add escalate_to = ["frontier"], or cascade.steps',
        )
    judge = scored_by(table, resolved.row)
    if settings.accept == "oracle" and judge is None:
        raise PolicyError(
            'accept = "oracle", and the row has none that can judge without a label',
            where=table.cite(*resolved.key("cascade")),
            fix='oracle = "NAME" of such an [oracles.NAME], or accept = "posterior"',
        )
    made = []
    for place, hop in enumerate(steps[:-1]):
        threshold = thresholds[place] if len(thresholds) > 1 else thresholds[0]
        if settings.accept == "oracle" and judge is not None:
            floor = None if settings.thresholds is None else threshold
            check = Check(purpose="accept", oracle=judge, floor=floor)
            made.append(replace(hop, checks=(*hop.checks, check)))
            continue
        accept = Acceptance(by=settings.accept, threshold=threshold)
        made.append(replace(hop, spec=hop.spec.model_copy(update={"accept": accept})))
    return (*made, steps[-1])


def first_hop(table: PolicyTable, resolved: Resolved) -> Hop:
    """The row's first choice; of a cascade, its cheapest step: its tier's models as a panel.

    Raises:
        PolicyError: if it has no models.
    """
    row, orchestrator = resolved.row, resolved.orchestrator
    if orchestrator == "cascade":
        own = resolved.origin.get("seats", ("defaults",)) != ("defaults",)
        orchestrator = "vote" if own and (row.seats or 1) > 1 else "single"
    at = resolved.key("calibration")
    spec = spec_of(table, resolved.strategy, orchestrator, row, resolved.path, at)
    return Hop(resolved.strategy, spec, resolved.path)


def escalations(table: PolicyTable, resolved: Resolved) -> tuple[Hop, ...]:
    """The row's ``escalate_to`` as hops; a named strategy is followed by its own ``escalate_to``.

    Raises:
        PolicyError: for a name that is nowhere, or a circle of strategies.
    """
    hops: list[Hop] = []
    first = resolved.strategy if resolved.strategy in table.strategies else None
    circle = [first] if first else []
    _escalate(
        table, resolved, resolved.row.escalate_to or (), resolved.key("escalate_to"), circle, hops
    )
    return tuple(hops)


def shadow_hop(table: PolicyTable, resolved: Resolved) -> Hop | None:
    """The hop that answers beside a share of the row's decisions; None where the row has none.

    It is asked what it would say and acts on nothing, so it has neither gate nor the row's losses,
    veto and error rate: those turn an answer down, and would leave nothing to compare.

    Raises:
        PolicyError: as :func:`escalations` does.
    """
    shadow = resolved.row.shadow
    if shadow is None:
        return None
    hop = _escalation(table, resolved, shadow.route, (*resolved.key("shadow"), "route"))
    (hop,) = armed(table, resolved.row, (hop,))
    lenient = {"losses": None, "alpha": None, "veto": None, "conformal": False}
    return replace(hop, spec=hop.spec.model_copy(update=lenient), checks=())


def _escalate(
    table: PolicyTable,
    resolved: Resolved,
    names: Iterable[str],
    path: KeyPath,
    circle: list[str],
    hops: list[Hop],
) -> None:
    for name in names:
        if name in circle:
            raise PolicyError(
                f"escalation runs in a circle: {' → '.join([*circle, name])}",
                where=table.cite(*path),
                fix=f'take "{name}" out',
            )
        if name == resolved.row.tier or any(hop.name == name for hop in hops):
            continue  # an inherited escalation that a stronger row has no use for
        hops.append(_escalation(table, resolved, name, path))
        if name in table.strategies:
            further = table.strategies[name].escalate_to or ()
            _escalate(
                table,
                resolved,
                further,
                ("strategies", name, "escalate_to"),
                [*circle, name],
                hops,
            )


def _escalation(table: PolicyTable, resolved: Resolved, name: str, path: KeyPath) -> Hop:
    row = resolved.row
    inherited = {n: v for n in TaskRow.model_fields if (v := getattr(row, n)) is not None}
    for key in _SHAPE:
        inherited.pop(key, None)
    if name in table.tiers:
        inherited["tier"] = name
        return _hop(table, name, "single", inherited, ("tiers", name))
    if name in table.strategies:
        named = table.strategies[name]
        layers: list[tuple[KeyPath, PanelFields]] = [
            (("defaults",), table.defaults),
            (("strategies", name), named),
        ]
        values, origin = _merge(layers)
        values["kind"] = row.kind
        values |= {key: inherited[key] for key in RULES if key in inherited}
        at = (*origin.get("calibration", ()), "calibration")
        return _hop(table, name, named.orchestrator, values, ("strategies", name), at)
    if is_model(name):
        inherited["models"] = (name,)
        return _hop(table, name, "single", inherited, path)
    raise PolicyError(
        f'"{name}" is no tier, strategy or model',
        where=table.cite(*path),
        fix=f"known: {', '.join(sorted([*table.tiers, *table.strategies]))}, or provider/model",
    )


def _hop(
    table: PolicyTable,
    name: str,
    orchestrator: OrchestratorName,
    values: dict[str, Any],
    path: KeyPath,
    calibration_at: KeyPath = (),
) -> Hop:
    row = TaskRow.model_construct(**values)
    return Hop(name, spec_of(table, name, orchestrator, row, path, calibration_at), path)
