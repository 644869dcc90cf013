"""What can go wrong, in two families.

::

    ConsensusError
    ├── DeclarationError        declared wrongly; never retried; names file, key and fix
    │   ├── TaskError           a task that cannot be asked
    │   ├── PolicyError         a policy table, tier, row, price or provider
    │   ├── PriceError          a model without a known price
    │   ├── PromptError         a framing, template or rubric
    │   ├── SuiteError          a suite, case or oracle
    │   ├── DataError           recorded answers, logs, receipts handed to us
    │   └── MissingExtraError   an optional part is not installed
    ├── LedgerError             a record could not be kept
    └── RunError                failed while running
        ├── ProviderError       a provider's answer or its absence, with its class
        ├── UnreadableError     an answer arrived and is no ballot, with its class
        ├── GuardError          the window guard refused a call
        ├── BudgetError         the next call could pass the cap
        ├── DeadlineError       no time left for the next call
        └── PullError           a model's file could not be fetched

Messages never hold keys and, by default, no judged text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from consensus.ballots import Usage
    from consensus.models.protocol import CallRecord

__all__ = [
    "BudgetError",
    "ConsensusError",
    "DataError",
    "DeadlineError",
    "DeclarationError",
    "FailureClass",
    "GuardError",
    "LedgerError",
    "MissingExtraError",
    "PolicyError",
    "PriceError",
    "PromptError",
    "ProviderError",
    "PullError",
    "RunError",
    "SuiteError",
    "TaskError",
    "UnreadableError",
]

FailureClass = Literal[
    # the provider
    "timeout",
    "connection",
    "rate_limited",
    "overloaded",
    "server_error",
    "auth",
    "not_found",
    "bad_request",
    "request_too_large",
    "malformed_response",
    "breaker_open",
    # the answer
    "empty",
    "refusal",
    "truncated",
    "unreadable",
    "off_list",
    "schema",
    # ourselves
    "guard",
    "budget",
    "deadline",
    "cancelled",
]
"""Why a seat has no ballot. Closed: what fits nowhere is ``server_error`` or ``unreadable``."""


class ConsensusError(Exception):
    """Anything this library raises on purpose.

    ``calls`` are the records of the attempts that were made before it was raised, in order.
    """

    calls: tuple[CallRecord, ...] = ()


class DeclarationError(ConsensusError):
    """Something was declared wrongly; trying again cannot help.

    ``where`` is ``file``, ``file:line`` or a key path; ``fix`` is what to write instead.
    """

    def __init__(self, message: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.message, self.where, self.fix = message, where, fix
        text = f"{where}: {message}" if where else message
        super().__init__(_one_line(f"{text} ({fix})" if fix else text))


def _one_line(text: str) -> str:
    """A message that no file's content can break into lines or paint a terminal with."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class TaskError(DeclarationError):
    """A task that cannot be asked."""


class PolicyError(DeclarationError):
    """A policy table that cannot be used."""


class PriceError(DeclarationError):
    """A model whose price is not known; never taken as zero."""


class PromptError(DeclarationError):
    """A framing, template or rubric that cannot be used."""


class SuiteError(DeclarationError):
    """A suite, case or oracle that cannot be used."""


class DataError(DeclarationError):
    """A file of records that cannot be read."""


class MissingExtraError(DeclarationError):
    """An optional part of the package is not installed."""


class RunError(ConsensusError):
    """Something failed while running. ``failure`` is its class."""

    failure: FailureClass

    def __init__(self, message: str, *, failure: FailureClass) -> None:
        self.message = message
        self.failure = failure
        super().__init__(message)


class ProviderError(RunError):
    """A provider refused, failed, or did not answer.

    Args:
        message: one line, without keys or judged text.
        failure: the class.
        retryable: whether the same request may be sent again.
        retry_after_s: the provider's own wish, in seconds.
        status: the HTTP status, where there was one.
        model: the model that was asked.
        usage: what the failed attempt used up, where the provider said so; it is billed.
        served_model: the model that served the failed attempt, where the provider said so.
        request_id: the provider's name for the attempt.
        unbilled: nobody answered, and it is known that nothing is billed either: no connection was
            made, or a batch ended before it came to the request.
    """

    def __init__(
        self,
        message: str,
        *,
        failure: FailureClass,
        retryable: bool = False,
        retry_after_s: float | None = None,
        status: int | None = None,
        model: str | None = None,
        usage: Usage | None = None,
        served_model: str | None = None,
        request_id: str | None = None,
        unbilled: bool = False,
    ) -> None:
        super().__init__(message, failure=failure)
        self.unbilled = unbilled
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.status = status
        self.model = model
        self.usage = usage
        self.served_model = served_model
        self.request_id = request_id


class UnreadableError(RunError):
    """An answer arrived, and is not a ballot."""


class GuardError(RunError):
    """Input and reserved output do not fit the model's window."""

    def __init__(self, message: str) -> None:
        super().__init__(message, failure="guard")


class BudgetError(RunError):
    """The next call could cost more than is left."""

    def __init__(self, message: str) -> None:
        super().__init__(message, failure="budget")


class DeadlineError(RunError):
    """No time is left for the next call."""

    def __init__(self, message: str) -> None:
        super().__init__(message, failure="deadline")


class PullError(RunError):
    """A model's file could not be fetched; the message says from where and why."""

    def __init__(self, message: str, *, failure: FailureClass = "connection") -> None:
        super().__init__(message, failure=failure)


class LedgerError(ConsensusError):
    """A record could not be written or read."""
