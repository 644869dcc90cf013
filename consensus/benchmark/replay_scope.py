"""The part of a run that settings look at: members, cases, evidence, single models, controls.

Settings that name the same models and cases share one: it is what a replay costs besides the
strategy itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.acting import Acting
from consensus.benchmark.auto import Learned
from consensus.benchmark.controls import oracle_credit
from consensus.benchmark.evidence import Evidence, complete_cases, evidence_of, resolve_members
from consensus.benchmark.fixed_panels import Single, Vote
from consensus.benchmark.measure import Measured, measure, measure_single
from consensus.benchmark.replay_settings import ReplaySettings
from consensus.benchmark.run_format.columns import Member
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError

__all__ = ["Scope", "Scopes"]

_MOST_SCOPES = 2
_MOST_CONTROLS = 32
_DRAWS = 16
"""Sample orders behind the controls: they are means over the same cases, and need fewer."""


@dataclass(frozen=True)
class Scope:
    """A run, reduced to what a replay needs.

    Attributes:
        panel: answers of the members that have seats.
        frontier: answers of the model compared with.
        singles: one pass of every member and of the frontier, by name.
        frontier_measured: one pass of the frontier.
        found: name as given → its members.
        kind: of the cases.
        options: their names, where they mean the same in every case.
        learned: what searches of its halves learned, whatever their goal.
    """

    panel: Evidence
    frontier: Evidence
    singles: Mapping[str, Measured]
    frontier_measured: Measured
    found: Mapping[str, tuple[Member, ...]]
    kind: str
    options: tuple[str, ...] | None
    learned: Learned = field(default_factory=dict, repr=False)
    _controls: dict[tuple[int | None, int, int], tuple[Measured, NDArray[np.float64]]] = field(
        default_factory=dict, repr=False
    )

    @property
    def members(self) -> tuple[Member, ...]:
        """Who has seats."""
        return self.panel.members

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Members without a known price."""
        return tuple(sorted(n for n, m in self.singles.items() if not np.isfinite(m.cost.mean())))

    def controls(self, settings: ReplaySettings) -> tuple[Measured, NDArray[np.float64]]:
        """The plurality of the strategy's seats, and the credit of the best of their answers."""
        seats = settings.seats
        if settings.strategy == "auto" and seats is not None:  # its limit may pass what is recorded
            seats = min(seats, len(self.members) * int(self.panel.present.shape[2]))
        key = (seats, min(settings.draws, _DRAWS), settings.seed)
        if key not in self._controls:
            if len(self._controls) >= _MOST_CONTROLS:
                self._controls.pop(next(iter(self._controls)))
            _, draws, seed = key
            self._controls[key] = (
                measure(Vote(seats), self.panel, draws=draws, seed=seed),
                oracle_credit(self.panel, seats, draws=draws, seed=seed),
            )
        return self._controls[key]

    def acted_always(
        self, settings: ReplaySettings, rule: Acting
    ) -> dict[str, Mapping[str, NDArray[np.float64]]]:
        """What one frontier pass, and the majority of the seats, did when acted upon always."""
        free = replace(rule, always=True)
        draws = min(settings.draws, _DRAWS)
        found = {
            "frontier": measure(Single(), self.frontier, acting=free),
            "majority": measure(
                Vote(settings.seats), self.panel, draws=draws, seed=settings.seed, acting=free
            ),
        }
        return {name: measured.acts or {} for name, measured in found.items()}


class Scopes:
    """The scopes of one run; the last few are kept."""

    def __init__(self, run: RecordedRun) -> None:
        self.run = run
        self._kept: OrderedDict[object, Scope] = OrderedDict()

    def of(self, settings: ReplaySettings) -> Scope:
        """What these settings look at.

        Raises:
            DataError: for a model, variant or sample that the run does not have.
        """
        key = (
            settings.frontier,
            settings.panel,
            settings.variant,
            settings.complete,
            settings.sample,
        )
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        scope = _scope(self.run, settings)
        self._kept[key] = scope
        if len(self._kept) > _MOST_SCOPES:
            self._kept.popitem(last=False)
        return scope


def _scope(run: RecordedRun, settings: ReplaySettings) -> Scope:
    found = resolve_members(run, [settings.frontier, *settings.panel], settings.variant)
    members = _panel_members(found, settings.panel)
    part = run.take_cases(_cases(run, found, settings, members))
    panel = evidence_of(part, members, sample=settings.sample)
    top = evidence_of(part, found[settings.frontier], sample=settings.sample)
    singles = {
        member.name: measure_single(panel, top, members=[m]) for m, member in enumerate(members)
    }
    for m, member in enumerate(top.members):
        singles.setdefault(member.name, measure_single(top, top, members=[m]))
    kind, options = part.cases.kinds[0], part.cases.options[0] if panel.labelled else None
    return Scope(panel, top, singles, measure_single(top, top), found, kind, options)


def _panel_members(
    found: Mapping[str, tuple[Member, ...]], panel: Sequence[str]
) -> tuple[Member, ...]:
    members: list[Member] = []
    for name in panel:
        for member in found[name]:
            if member in members:
                raise DataError(f"names {member.name} twice", where="--panel")
            members.append(member)
    return tuple(members)


def _cases(
    run: RecordedRun,
    found: Mapping[str, tuple[Member, ...]],
    settings: ReplaySettings,
    members: Sequence[Member],
) -> NDArray[np.int64]:
    named = sorted({member for group in found.values() for member in group})
    index = {member: i for i, member in enumerate(run.members)}
    if settings.complete:
        keep = complete_cases(run, named)
    else:
        # All cases that anybody answered under these variants: who is missing there has failed.
        variants = {member.variant for member in named}
        here = np.isin(
            run.rows.member, [i for member, i in index.items() if member.variant in variants]
        )
        keep = np.zeros(len(run.cases), dtype=bool)
        keep[run.rows.case[here]] = True
    if settings.sample is not None:
        wanted = np.isin(run.rows.member, [index[m] for m in (*members, *named)])
        if not (run.rows.sample[wanted] == settings.sample).any():
            most = int(run.rows.sample[wanted].max())
            raise DataError(f"no sample {settings.sample}", where="--sample", fix=f"0 to {most}")
    rows = np.flatnonzero(keep)
    if not rows.size:
        raise DataError("no case is answered by every model named", where=run.name)
    return rows
