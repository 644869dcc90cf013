"""Errors as the API says them: a status, and a body in the shape of OpenAI's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.errors import ConsensusError, DeclarationError, LedgerError, RunError

__all__ = ["ApiError", "as_api_error", "no_such_receipt", "refuse"]

TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A request that is refused, or an answer that could not be made.

    Args:
        status: HTTP status.
        code: a word that a program can look at.
        message: one line for people; never judged text or a key.
        param: the field of the request that is to blame.
        headers: sent with it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The body that is sent."""
        kind = TYPES.get(self.status)
        if kind is None:
            kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }


def refuse(message: str, *, param: str | None = None, code: str = "invalid_request") -> ApiError:
    """A request that cannot be understood (400)."""
    return ApiError(400, code, message, param=param)


def no_such_receipt() -> ApiError:
    """A receipt that is not there, or is another caller's (404): the two are not told apart."""
    return ApiError(404, "no_such_receipt", "there is no such receipt of this caller")


def as_api_error(error: ConsensusError) -> ApiError:
    """What the engine raised, as the API says it."""
    if isinstance(error, DeclarationError):
        return refuse(str(error), code="invalid_task")
    if isinstance(error, LedgerError) and _is_missing(error):
        return no_such_receipt()
    if isinstance(error, LedgerError):
        # Its text names a path of this machine, which is not the caller's business.
        return ApiError(
            503,
            "ledger_unavailable",
            "the ledger cannot be used; nothing was decided",
        )
    if isinstance(error, RunError):
        return ApiError(502, error.failure, "a model could not be asked")
    return ApiError(500, "internal", "this should not have happened")


def _is_missing(error: LedgerError) -> bool:
    return any(word in str(error) for word in (": no receipt ", ": several receipts "))
