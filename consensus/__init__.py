"""Consensus: judgement tasks become decisions with evidence.

Heavy parts (providers' SDKs, the ledger's database, numerics) are imported at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consensus._version import __version__
from consensus.ballots import Ballot, Cost, Failure, Usage
from consensus.decisions import Decision, Frontier
from consensus.errors import ConsensusError, DeclarationError, RunError
from consensus.tasks import Approve, Choose, Compare, Generate, Message, Rank, Score, Task

if TYPE_CHECKING:
    from consensus.blocking import decide, decide_many
    from consensus.engine import Engine

__all__ = [
    "Approve",
    "Ballot",
    "Choose",
    "Compare",
    "ConsensusError",
    "Cost",
    "Decision",
    "DeclarationError",
    "Engine",
    "Failure",
    "Frontier",
    "Generate",
    "Message",
    "Rank",
    "RunError",
    "Score",
    "Task",
    "Usage",
    "__version__",
    "decide",
    "decide_many",
]

_LAZY = {"Engine": "engine", "decide": "blocking", "decide_many": "blocking"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"consensus.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'consensus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
