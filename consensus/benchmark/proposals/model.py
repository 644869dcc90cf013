"""A proposal: for each task type the old row, the new one, why, and what it would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consensus.errors import DataError
from consensus.policy.certificate import Certificate, CertificateStatus, Profile
from consensus.strangers import parse_json, read_bounded
from consensus.tasks import describe

__all__ = [
    "FORMAT",
    "Figures",
    "Measured",
    "Proposal",
    "RowProposal",
    "load_proposal",
    "save_proposal",
]

FORMAT = 1

MAX_BYTES = 64_000_000


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class Figures(_Frozen):
    """What a row does on some cases. None where it cannot be known.

    ``quality`` is the share of cases on which it acted on an acceptable answer; what it left to a
    person (``undecided``) is not among them.
    """

    n: int
    quality: float
    ci95: tuple[float, float]
    undecided: float
    escalated: float
    calls: float
    usd: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None


class Measured(_Frozen):
    """One candidate: what it is, and what it did on the half that chose."""

    name: str
    source: str = Field(description="search, current, or who named it")
    row: dict[str, Any] = Field(description="the keys of its row, as TOML has them")
    calibration: Figures | None = None
    evaluation: Figures | None = None
    left_out: str = Field(default="", description="why it was not measured, or not compared")


class RowProposal(_Frozen):
    """One task type's change.

    Attributes:
        old, new: the row's keys that say how it is answered; ``old`` is None without a row.
        why: in sentences, the reason first.
        expected: the new row on the evaluation half; ``before``: the old one there; ``frontier``:
            one frontier call there. ``before`` is None where the run cannot replay it.
        monthly_volume: from the audit; None without one.
        saving_usd: a month against the row in force (else the frontier); None without volume or
            prices.
        calibration_file, calibration: a file that the new row names, and what it holds.
        strategies: named strategies that the new row needs, by name.
        given: what the row did not say of its task type, as the audit and the measured cases do;
            it was measured with it.
        oracles, oracle_files: what ``[oracles]`` lacks, and the files of that, by place beside the
            policy's file.
        servable: "" or why the row could not be loaded as it stands.
    """

    task_type: str
    kind: str
    consequence: str | None = None
    status: CertificateStatus
    old: dict[str, Any] | None
    new: dict[str, Any]
    why: tuple[str, ...]
    certificate: Certificate
    profile: Profile | None = None
    expected: Figures
    before: Figures | None = None
    frontier: Figures | None = None
    candidates: tuple[Measured, ...] = ()
    monthly_volume: int | None = None
    saving_usd: float | None = None
    calibration_file: str | None = None
    calibration: dict[str, Any] | None = None
    strategies: dict[str, dict[str, Any]] = {}
    given: dict[str, Any] = {}
    oracles: dict[str, dict[str, Any]] = {}
    oracle_files: dict[str, str] = {}
    servable: str = ""

    @property
    def changed(self) -> bool:
        """Whether tasks would be answered in another way than now."""
        return self.old != self.new


class Proposal(_Frozen):
    """All changes that a run supports, the most valuable first.

    Attributes:
        policy, policy_version: the table that it changes, and its content hash then.
        run: the folder that it rests on.
        by: who named the candidates.
        seed: of the halves.
        rows: by volume × saving.
        skipped: task type → why nothing is proposed for it.
    """

    format: Literal[1] = 1
    policy: str
    policy_version: str
    run: str
    frontier: str
    by: str
    seed: int
    date: str
    rows: Annotated[tuple[RowProposal, ...], Field(max_length=10_000)]
    skipped: dict[str, str] = {}
    notes: tuple[str, ...] = ()


def save_proposal(proposal: Proposal, path: Path) -> None:
    """Write a proposal whole, or leave the old file."""
    part = path.with_name(path.name + ".part")
    part.write_text(proposal.model_dump_json(indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def load_proposal(path: Path) -> Proposal:
    """Read a proposal.

    Raises:
        DataError: one line with the file and what is wrong with it.
    """
    if not path.exists():
        raise DataError("no such file", where=str(path), fix="consensus policy propose RUN")
    try:
        data = parse_json(read_bounded(path, MAX_BYTES))
    except ValueError:
        raise DataError("is not JSON", where=str(path)) from None
    try:
        return Proposal.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise DataError(f"is no proposal: {describe(error)}", where=str(path)) from None
