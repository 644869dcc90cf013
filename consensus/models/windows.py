"""How much a model can read and write, and how much of it must stay free for thinking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["THINKING_ROOM", "UNKNOWN_WINDOW", "Window", "thinks", "window_of"]

UNKNOWN_WINDOW = 32_768
"""Tokens of a window that nobody declared: what today's smallest served models take. Too small
makes the guard move a task up a tier; too large would lose a paid call."""

_UNKNOWN_OUTPUT = 4_096

THINKING_ROOM = 1_024
"""Output tokens kept free beside the answer for a model that thinks before it answers, because
providers count thinking against the output limit. Judgements think little; a larger room makes
every call's worst case, and so its reservation in a budget, dearer. A policy sets another for a
model with ``thinking_room`` in its ``[prices]`` table."""


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens that a model takes and gives.

    ``max_input`` is what the provider says of the input; several count the output against it too.
    ``known`` is False where neither the policy nor the map says it, and the figures are
    conservative.
    """

    max_input: int
    max_output: int
    known: bool


def window_of(facts: Mapping[str, Any]) -> Window:
    """The window that a model's facts describe.

    The map's ``max_tokens`` means output or input as the provider pleases, so alone it only ever
    makes an unknown window smaller.
    """
    max_input = _tokens(facts.get("max_input_tokens"))
    max_output = _tokens(facts.get("max_output_tokens"))
    either = _tokens(facts.get("max_tokens"))
    if max_input is None:
        size = min(UNKNOWN_WINDOW, either or UNKNOWN_WINDOW)
        return Window(size, max_output or either or min(_UNKNOWN_OUTPUT, size), known=False)
    return Window(max_input, max_output or either or min(_UNKNOWN_OUTPUT, max_input), known=True)


def thinks(facts: Mapping[str, Any]) -> bool:
    """Whether the model may think before it answers when the request does not mention thinking.

    Claude: thinking that cannot be switched off, or adaptive thinking in the generation that takes
    no sampling parameters (it thinks by default). Others: reasoning whose default effort is not
    ``none``. A model of which nothing is known is taken not to think.
    """
    if facts.get("thinking_always_on") is True:
        return True
    if facts.get("supports_adaptive_thinking") is True:
        return facts.get("supports_sampling_params") is False
    if str(facts.get("litellm_provider", "")) == "anthropic":
        return False  # older Claude models think only when told to
    return (
        facts.get("supports_reasoning") is True and facts.get("default_reasoning_effort") != "none"
    )


def _tokens(value: object) -> int | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return int(value)
    return None
