"""What the checks share: where to look things up, where to put findings, which rows there are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from consensus.errors import DeclarationError, PolicyError
from consensus.policy._lines import KeyPath
from consensus.policy.findings import Code, Finding, Level, dotted
from consensus.policy.resolve import Hop, Resolved, first_hop, hops_of, resolve
from consensus.policy.rows import DefaultsRow, PanelFields
from consensus.policy.table import PolicyTable

__all__ = [
    "Findings",
    "FramingLike",
    "Layer",
    "Prices",
    "Prompts",
    "WindowLike",
    "follow_rows",
    "layers",
]


class WindowLike(Protocol):
    """Tokens that a model takes and gives."""

    @property
    def max_input(self) -> int: ...
    @property
    def max_output(self) -> int: ...
    @property
    def known(self) -> bool: ...


class Prices(Protocol):
    """Where prices and windows are looked up: a ``PriceBook``."""

    def price(self, model: str) -> object:
        """The price, or :class:`PriceError`."""
        ...

    def window(self, model: str) -> WindowLike:
        """The window; ``known`` is False where it is a guess."""
        ...


class FramingLike(Protocol):
    """A framing, as far as the table cares."""

    @property
    def kinds(self) -> Collection[str]: ...


class Prompts(Protocol):
    """The known framings by name: a ``PromptBook``."""

    @property
    def framings(self) -> Mapping[str, FramingLike]: ...


class Findings:
    def __init__(self, table: PolicyTable) -> None:
        self.table = table
        self.items: list[Finding] = []

    def add(
        self, level: Level, code: Code, path: KeyPath, message: str, fix: str | None = None
    ) -> None:
        place = self.table.place(*path)
        self.items.append(
            Finding(
                level=level,
                code=code,
                key=dotted(path),
                message=message,
                fix=fix,
                file=place.file if place else None,
                line=place.line if place else None,
            )
        )


@dataclass(frozen=True, slots=True)
class Layer:
    path: KeyPath
    fields: PanelFields


def layers(table: PolicyTable) -> Iterator[Layer]:
    rows: list[tuple[KeyPath, DefaultsRow]] = [(("defaults",), table.defaults)]
    rows += [(("tasks", name), row) for name, row in table.tasks.items()]
    for name, strategy in table.strategies.items():
        yield Layer(("strategies", name), strategy)
    for path, row in rows:
        yield Layer(path, row)
        for position, rule in enumerate(row.when or ()):
            yield Layer((*path, "when", position), rule)


def follow_rows(table: PolicyTable, found: Findings) -> Iterator[tuple[Resolved, tuple[Hop, ...]]]:
    """Every row with every rule of it, as far as it can be followed; what stops it is found."""
    types: list[str | None] = [None, *table.tasks]
    for task_type in types:
        row = table.tasks.get(task_type) if task_type else None
        rules = (row.when if row else None) or table.defaults.when or ()
        for rule in (None, *range(len(rules))):
            arm, arms = 0, 1
            while arm < arms:
                try:
                    resolved = resolve(table, task_type, rule, arm=arm)
                except PolicyError:
                    break  # the unknown strategy is found by name
                arm, arms = arm + 1, len(resolved.mix)
                followed = _follow(table, found, resolved)
                if followed:
                    yield resolved, followed


def _follow(table: PolicyTable, found: Findings, resolved: Resolved) -> tuple[Hop, ...] | None:
    row, path = resolved.row, resolved.path
    if row.tier is None and row.models is None:
        if path != ("defaults",):
            found.add(
                "error",
                "no-models",
                path,
                "has neither a tier nor models",
                f'add tier = "{next(iter(table.tiers))}"'
                if table.tiers
                else "add [tiers], then tier = …",
            )
        return None
    if row.tier is not None and not table.tiers.get(row.tier):
        return None  # found by name
    try:
        first = first_hop(table, resolved)
    except (DeclarationError, ValueError):
        return None
    names = row.escalate_to or ()
    if row.tier in names and resolved.origin.get("escalate_to") in (path, resolved.origin["tier"]):
        found.add(
            "error",
            "cycle",
            (*resolved.key("escalate_to"), names.index(str(row.tier))),
            f'escalates to its own tier "{row.tier}"',
            "name a stronger one",
        )
    try:
        return hops_of(table, resolved)
    except PolicyError as error:
        if "circle" in error.message:
            found.add("error", "cycle", resolved.key("escalate_to"), error.message, error.fix)
        elif resolved.orchestrator == "cascade":
            found.add("error", "cascade", resolved.key("cascade"), error.message, error.fix)
        return (first,)
