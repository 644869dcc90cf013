"""Who answers, and how they are asked: prompts, seats, rendering, reading (design/panel.md)."""

from __future__ import annotations

from consensus.panel.asking import ask
from consensus.panel.book import PromptBook, load_prompts
from consensus.panel.framings import Framing
from consensus.panel.parsing import Reading, read_ballot
from consensus.panel.rendering import preview, render
from consensus.panel.seats import Seat, build_panel

__all__ = [
    "Framing",
    "PromptBook",
    "Reading",
    "Seat",
    "ask",
    "build_panel",
    "load_prompts",
    "preview",
    "read_ballot",
    "render",
]
