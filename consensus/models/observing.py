"""Who may look on while models are called: a seam, so that calling knows nothing of telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from consensus.models.protocol import CallRecord, Completion, Request

if TYPE_CHECKING:
    from consensus.models.context import CallContext

__all__ = ["CallObserver", "CallWatch"]


class CallWatch(Protocol):
    """One call, watched: it ends with the context manager that gave it."""

    def answered(self, completion: Completion, records: Sequence[CallRecord]) -> None:
        """The call has its answer, after these attempts; the last record is the answer's own."""
        ...


class CallObserver(Protocol):
    """Sees every call from before its first attempt until after its last.

    An error leaves through the context manager, with the attempts' records as ``error.calls``.
    An observer raises nothing of its own and keeps nobody waiting.
    """

    def call(self, request: Request, ctx: CallContext) -> AbstractContextManager[CallWatch]:
        """Watch one call."""
        ...
