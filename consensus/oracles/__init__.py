"""Executable definitions of an acceptable answer, for gates, cascades and benchmarks alike."""

from __future__ import annotations

from consensus.oracles.declare import OracleDeclaration, declare_oracle
from consensus.oracles.matching import Exact, Label, Numeric
from consensus.oracles.python import PythonOracle
from consensus.oracles.ranking import Ranking
from consensus.oracles.rubric import Rubric
from consensus.oracles.structured import Fields, JsonSchema
from consensus.oracles.verdicts import Oracle, Verdict

__all__ = [
    "Exact",
    "Fields",
    "JsonSchema",
    "Label",
    "Numeric",
    "Oracle",
    "OracleDeclaration",
    "PythonOracle",
    "Ranking",
    "Rubric",
    "Verdict",
    "declare_oracle",
]
