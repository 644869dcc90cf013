"""What traffic costs: projected before launch and after, and the pages that show it."""

from __future__ import annotations

from consensus.benchmark.projection.breakeven import Classifier
from consensus.benchmark.projection.html import render_costs, render_projection
from consensus.benchmark.projection.measurement import FrontierCost, Leg, Measurement
from consensus.benchmark.projection.observed import observe
from consensus.benchmark.projection.output import projection_json, projection_table
from consensus.benchmark.projection.project import Line, Projection, project
from consensus.benchmark.projection.tariff import Tokens
from consensus.benchmark.projection.traffic import Flow, WhatIf, parse_what_if, traffic_of

__all__ = [
    "Classifier",
    "Flow",
    "FrontierCost",
    "Leg",
    "Line",
    "Measurement",
    "Projection",
    "Tokens",
    "WhatIf",
    "observe",
    "parse_what_if",
    "project",
    "projection_json",
    "projection_table",
    "render_costs",
    "render_projection",
    "traffic_of",
]
