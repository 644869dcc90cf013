"""Past one machine: bulk decisions on Ray (design/cluster.md). Ray itself is an extra."""

from consensus.cluster.budget import CapError, RunEngine
from consensus.cluster.run import CappedRun, ClusterRun

__all__ = ["CapError", "CappedRun", "ClusterRun", "RunEngine"]
