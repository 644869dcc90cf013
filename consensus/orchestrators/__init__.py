"""How ballots are obtained, and what follows from them.

One file an orchestrator (async, spends money); ``concluding`` is pure and shared by the engine, by
replay and by the benchmark.
"""

from __future__ import annotations

from consensus.orchestrators.session import Orchestrator, Session
from consensus.orchestrators.single import single
from consensus.orchestrators.spec import HopRecord, OrchestratorName, Poll, StrategySpec
from consensus.orchestrators.vote import vote

__all__ = ["ORCHESTRATORS", "HopRecord", "Orchestrator", "Poll", "Session", "StrategySpec"]

ORCHESTRATORS: dict[OrchestratorName, Orchestrator] = {"single": single, "vote": vote}
"""Every orchestrator by the name that a policy gives it."""
