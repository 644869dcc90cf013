"""One setting of the templates for every page: strict, escaped, and in the report's words."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from consensus.benchmark.report import words

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["page_environment"]


def page_environment(
    folder: Traversable, *, finalize: Callable[..., Any] | None = None
) -> Environment:
    """Templates of ``folder``, with the filters of :mod:`consensus.benchmark.report.words`.

    Args:
        folder: where the templates lie.
        finalize: what every printed value passes through before it is escaped.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in words.__all__:
        if name != "UNKNOWN":
            environment.filters[name] = getattr(words, name)
    return environment
