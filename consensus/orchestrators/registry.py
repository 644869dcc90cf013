"""Every orchestrator by name: the one table that the type checker sees."""

from __future__ import annotations

from consensus.orchestrators.best_of_n import best_of_n
from consensus.orchestrators.debate import debate
from consensus.orchestrators.pairs import pairs
from consensus.orchestrators.session import Orchestrator
from consensus.orchestrators.single import single
from consensus.orchestrators.spec import OrchestratorName
from consensus.orchestrators.vote import vote

__all__ = ["ORCHESTRATORS"]

ORCHESTRATORS: dict[OrchestratorName, Orchestrator] = {
    "single": single,
    "vote": vote,
    "debate": debate,
    "best_of_n": best_of_n,
    "pairs": pairs,
}
"""Every orchestrator by the name that a policy gives it.

A cascade is none of them: it is a route, whose steps are hops (``policy.resolve``).
"""
