"""What a proposal looks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from consensus.benchmark.proposals.candidates import (
    Candidate,
)
from consensus.benchmark.proposals.recording import (
    Recording,
)
from consensus.policy.table import PolicyTable

__all__ = ["Namer", "ProposalSettings"]

Namer = Callable[[Sequence[Recording], PolicyTable], Mapping[str, Sequence[Candidate]]]
"""Names candidates in place of the search: task type → candidates."""


@dataclass(frozen=True)
class ProposalSettings:
    """What to look for.

    Attributes:
        frontier: the model that everything is compared with, by the policy's name; None: the
            policy's tier "frontier" if the run has it, else the dearest model.
        seed: of the halves: a case calibrates by sha256(SEED:case_id).
        names: recorded name → the policy's, for models and options.
        models: only these; None: all of the run.
        types: only these task types; None: all.
        variant: of recordings of other prompts.
        grid: Learn-then-Test over all candidates in place of the fixed sequence.
        by: who names candidates; ``search`` unless a ``namer`` does.
        today: the certificates' date.
    """

    today: date
    frontier: str | None = None
    seed: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    variant: str | None = None
    grid: bool = False
    by: str = "search"
    namer: Namer | None = None
