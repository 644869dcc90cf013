"""Python's garbage collector, in a process that does little else than decide.

The collector starts after every 700 objects that are more than were, and now and then looks
through all that are alive. A call in flight is a hundred objects, and an SDK leaves some hundred
thousand behind when it is imported: with a thousand calls in flight it works without end and finds
nothing, for what a call leaves is freed by its reference counts.
"""

from __future__ import annotations

import gc

__all__ = ["YOUNG", "Collecting"]

YOUNG = 250_000
"""Objects, beyond those that were freed, after which the young ones are looked through."""


class Collecting:
    """The arrangement of one engine; :meth:`restore` takes it back."""

    def __init__(self) -> None:
        self._before: tuple[int, int, int] | None = None

    def arrange(self) -> None:
        """Look seldom, and never again at what is alive now: modules, policies, connections.

        Done again after more has been loaded, it spares that too.
        """
        if self._before is None:
            self._before = gc.get_threshold()
        gc.set_threshold(YOUNG, *self._before[1:])
        gc.freeze()

    def restore(self) -> None:
        """As it was before."""
        if self._before is not None:
            gc.set_threshold(*self._before)
            gc.unfreeze()
            self._before = None
