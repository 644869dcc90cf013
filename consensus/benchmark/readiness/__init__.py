"""Is everything there before the first request? Ten items, each proved by what is on disk."""

from __future__ import annotations

from consensus.benchmark.readiness.items import ITEMS, Item
from consensus.benchmark.readiness.proofs import Ground, Readiness, readiness

__all__ = ["ITEMS", "Ground", "Item", "Readiness", "readiness"]
