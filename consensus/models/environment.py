"""Addresses that hold a password, by the name of the environment variable that they are in."""

from __future__ import annotations

import os

from consensus.errors import PolicyError

__all__ = ["url_from"]


def url_from(variable: str, *, where: str, example: str) -> str:
    """The URL in an environment variable. It is in no message, whatever is wrong with it.

    Raises:
        PolicyError: the variable is not set.
    """
    url = os.environ.get(variable)
    if not url:
        raise PolicyError(
            f"the environment variable {variable} is not set",
            where=where,
            fix=f"export {variable}={example}",
        )
    return url
