"""How an older ledger becomes today's.

A step takes a ledger from version ``n`` to ``n + 1`` and runs in the same transaction as the new
version number: a ledger is of one version or of the next, never between. Steps only add; data that
was paid for is never dropped. Version 1 is the first, so there are no steps yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["MIGRATIONS", "Step"]

Step: TypeAlias = "Callable[[Connection], None]"

MIGRATIONS: Mapping[int, Step] = {}
"""From version → the step to the next one."""
