"""What labelled cases say of a panel: a small file that a strategy is given and a receipt keeps.

A calibration belongs to one task type. It holds one aggregator's fitted numbers, never text, and is
read as data: nothing of it is executed. ``benchmark.fitting`` makes one, ``calibrated`` applies it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from consensus.errors import DataError

__all__ = [
    "CALIBRATION_FORMAT",
    "MAX_CALIBRATION_BYTES",
    "BiasFrom",
    "BlocksFit",
    "Calibration",
    "ConfidenceFit",
    "Fit",
    "MeanFit",
    "OptionScoresFit",
    "ScoresFit",
    "StackedFit",
    "Stage",
    "WeightedFit",
    "load_calibration",
]

CALIBRATION_FORMAT = 1

MAX_CALIBRATION_BYTES = 8_000_000
"""The most a calibration file may hold: one from a stranger cannot fill the memory."""

MAX_MODELS = 64
MAX_OPTIONS = 200

Finite: TypeAlias = Annotated[float, Field(ge=-1e6, le=1e6)]
Inside: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Correlation: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


BiasFrom = Literal["none", "content_free", "batch", "labels"]
"""Where a model's label bias is measured."""


class ConfidenceFit(_Frozen):
    """One model's stated confidence: logit p′ = a + b·logit c, and p′ where nothing was stated."""

    a: Annotated[float, Field(ge=-60, le=60)]
    b: Annotated[float, Field(ge=0, le=60)]
    base: Inside


class WeightedFit(_Frozen):
    """Log-odds weights by accuracy and stated confidence; ``correlation`` of two seats' errors."""

    family: Literal["weighted"] = "weighted"
    maps: tuple[ConfidenceFit, ...]
    correlation: Correlation


class BlocksFit(_Frozen):
    """Blocks that err together, a model each.

    ``confusion`` (models, K, K) and ``prior`` (K,) stand where the options mean the same in every
    case; else errors are symmetric around ``accuracy``.
    """

    family: Literal["blocks"] = "blocks"
    accuracy: tuple[Inside, ...]
    within: tuple[Correlation, ...]
    between: Annotated[float, Field(ge=0, le=1)]
    confusion: tuple[tuple[tuple[Inside, ...], ...], ...] | None = None
    prior: tuple[Inside, ...] | None = None


class StackedFit(_Frozen):
    """A conditional logit: one row of ``weights`` for each of the calibration's stages."""

    family: Literal["stacked"] = "stacked"
    features: tuple[Literal["votes", "distributions", "confidence"], ...]
    weights: tuple[tuple[Finite, ...], ...]


class MeanFit(_Frozen):
    """Averaged distributions: accuracy of a bare word, and each model's label bias to divide by.

    ``bias_from`` says where the bias was measured: the mean answer to content-free questions
    (2102.09690), the mean answer over a batch of cases (2309.17249), or that over what their labels
    say, so that prevalence is no bias. Nothing is divided out where ``bias`` is None.
    """

    family: Literal["mean"] = "mean"
    accuracy: tuple[Inside, ...]
    bias: tuple[tuple[Inside, ...], ...] | None = None
    bias_from: BiasFrom = "labels"


class OptionScoresFit(_Frozen):
    """Scores of each option: P ∝ exp(Σ weight · the model's mean score), for each stage a row.

    A weight is 1/T of the softmax, in points of score; 0 is a model that is not used.
    """

    family: Literal["option_scores"] = "option_scores"
    weights: tuple[tuple[Annotated[float, Field(ge=0, le=1e6)], ...], ...]


class ScoresFit(_Frozen):
    """Judges that differ: location, slope and noise of each; the panel's mean scale."""

    family: Literal["scores"] = "scores"
    location: tuple[Finite, ...]
    slope: tuple[Finite, ...]
    noise: tuple[Annotated[float, Field(gt=0, le=1e6)], ...]
    centre: Finite
    scale: Finite


Fit: TypeAlias = Annotated[
    WeightedFit | BlocksFit | StackedFit | MeanFit | OptionScoresFit | ScoresFit,
    Field(discriminator="family"),
]


class Stage(_Frozen):
    """A part of the panel that may be all that answered, as it was on the calibration cases.

    Attributes:
        models: who.
        cases: on which all of them gave a ballot.
        temperature: p′ ∝ p^(1/temperature).
        misses: 1 − P(truth) on those cases, each from a fit without the case, ascending.
        quantile: q̂ at the row's α, in the place of ``misses`` once a row is resolved; None is ∞.
    """

    models: tuple[Name, ...] = Field(min_length=1)
    cases: int = Field(ge=0)
    temperature: float = Field(default=1.0, ge=1e-3, le=1e3)
    misses: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    quantile: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _sorted(self) -> Stage:
        if any(a > b for a, b in zip(self.misses, self.misses[1:], strict=False)):
            raise ValueError("misses must be ascending")
        return self


class Calibration(_Frozen):
    """One task type's calibration.

    Attributes:
        options: the closed set, where every case has the same; None for candidates that differ by
            case, and for scores.
        scale: of a score.
        models: seen by the fit, by the names that the policy uses; ``seats`` of each.
        cases: labelled cases that it rests on.
        stages: parts of the panel, the whole one among them; none for scores.
        alpha: of ``Stage.quantile``.
        prompts_sha256: of the prompts that the answers were made with; "" where not known.
        data_sha256: of the answers and labels that it was fitted on.
        fitted_on: the day, as YYYY-MM-DD, given by whoever fitted it.
        unlabelled: fitted on what the models' own votes make of each case (Dawid–Skene), without
            labels: a posterior that rests on it is not called calibrated, and draws no set.
    """

    format: Literal[1]
    task_type: Annotated[str, Field(max_length=256)]
    kind: Literal["approve", "choose", "compare", "score"]
    options: tuple[Name, ...] | None = Field(default=None, min_length=2, max_length=MAX_OPTIONS)
    scale: tuple[Finite, Finite] | None = None
    models: tuple[Name, ...] = Field(min_length=1, max_length=MAX_MODELS)
    seats: tuple[Annotated[int, Field(ge=1)], ...]
    cases: int = Field(ge=1)
    fit: Fit
    stages: tuple[Stage, ...] = Field(default=(), max_length=4 * MAX_MODELS)
    alpha: Inside | None = None
    prompts_sha256: Sha256 = ""
    data_sha256: Sha256 = ""
    fitted_on: Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""
    unlabelled: Literal[True] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Calibration:
        if len(set(self.models)) != len(self.models):
            raise ValueError("models names one twice")
        if self.options is not None and len(set(self.options)) != len(self.options):
            raise ValueError("options names one twice")
        if len(self.seats) != len(self.models):
            raise ValueError(f"seats has {len(self.seats)} numbers for {len(self.models)} models")
        if (self.kind == "score") != (self.fit.family == "scores"):
            raise ValueError(f'fit "{self.fit.family}" is not for tasks of kind {self.kind}')
        if self.kind in ("approve", "compare") and self.options is None:
            raise ValueError(f"tasks of kind {self.kind} have fixed options: name them")
        self._check_stages()
        self._check_shapes()
        return self

    def _check_stages(self) -> None:
        if self.kind == "score":
            return
        known = set(self.models)
        seen = [frozenset(stage.models) for stage in self.stages]
        if len(set(seen)) != len(seen) or not all(part <= known for part in seen):
            raise ValueError("stages must be different parts of models")
        if known not in seen:
            raise ValueError("stages must hold the whole panel")

    def _check_shapes(self) -> None:
        fit, models = self.fit, len(self.models)
        width = len(self.options or ())
        for name in ("maps", "accuracy", "within", "location", "slope", "noise"):
            values = getattr(fit, name, None)
            if values is not None and len(values) != models:
                raise ValueError(f"fit.{name} has {len(values)} entries for {models} models")
        if isinstance(fit, BlocksFit):
            if (fit.confusion is None) != (self.options is None):
                raise ValueError("fit.confusion stands exactly where options are fixed")
            if fit.confusion is not None:
                _shaped("fit.confusion", fit.confusion, (models, width, width))
                for row in (row for matrix in fit.confusion for row in matrix):
                    _sums_to_one("each row of fit.confusion", row)
            if fit.prior is not None:
                _shaped("fit.prior", fit.prior, (width,))
                _sums_to_one("fit.prior", fit.prior)
        if isinstance(fit, MeanFit) and fit.bias is not None:
            _shaped("fit.bias", fit.bias, (models, width))
        self._check_rows()

    def _check_rows(self) -> None:
        """The rows of weights of a fit by stages."""
        fit = self.fit
        if isinstance(fit, StackedFit | OptionScoresFit) and len(fit.weights) != len(self.stages):
            raise ValueError("fit.weights must have one row for each stage")
        for stage, row in zip(self.stages, getattr(fit, "weights", ()), strict=False):
            wanted = len(stage.models)
            if isinstance(fit, StackedFit):
                from consensus.orchestrators.calibrated import stacked_width

                wanted = stacked_width(fit.features, self.options, self.seats_of(stage.models))
            if len(row) != wanted:
                raise ValueError(f"a row of fit.weights has {len(row)} of {wanted} numbers")

    @property
    def aggregator(self) -> Literal["weighted", "blocks", "stacked", "mean", "scores"]:
        """The aggregator that this calibrates."""
        return "scores" if self.fit.family == "option_scores" else self.fit.family

    @property
    def by_stage(self) -> bool:
        """Whether its numbers belong to a stage, so that only just those models can be read."""
        return isinstance(self.fit, StackedFit | OptionScoresFit)

    def fits(self, kind: str, options: Collection[str]) -> bool:
        """Whether a task of this kind, with these options, is of the calibrated sort."""
        if kind != self.kind:
            return False
        return self.options is None or set(options) == set(self.options)

    def seats_of(self, models: Collection[str]) -> tuple[int, ...]:
        """Fitted seats of these models, in the calibration's order."""
        return tuple(n for m, n in zip(self.models, self.seats, strict=True) if m in models)

    def stage(self, models: Collection[str]) -> tuple[int, bool]:
        """The stage of those who answered, and whether it is exactly theirs.

        Without one of their own it is the largest stage that they hold all of, else the whole
        panel's.
        """
        wanted = frozenset(models)
        parts = [frozenset(stage.models) for stage in self.stages]
        if wanted in parts:
            return parts.index(wanted), True
        held = [i for i, part in enumerate(parts) if part <= wanted]
        if held:
            return max(held, key=lambda i: (len(parts[i]), -i)), False
        return parts.index(frozenset(self.models)), False

    def at(self, alpha: float | None) -> Calibration:
        """What a strategy and its receipts carry: q̂ at this α in the place of all misses."""
        stages = tuple(
            stage.model_copy(update={"misses": (), "quantile": _quantile(stage.misses, alpha)})
            for stage in self.stages
        )
        return self.model_copy(update={"stages": stages, "alpha": alpha})

    def to_json(self) -> str:
        """The file's text: a key a line."""
        data = self.model_dump(mode="json", exclude_none=True)
        rows = (
            f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
            for key, value in data.items()
        )
        return "{\n" + ",\n".join(rows) + "\n}\n"

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        try:
            part.write_text(self.to_json(), encoding="utf-8")
            part.replace(target)
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", where=str(target)) from None
        return target


def load_calibration(path: str | Path) -> Calibration:
    """Read a calibration file.

    Raises:
        DataError: one line naming the file, the key and what is wrong with it.
    """
    file = Path(path)
    try:
        found = file.stat()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(file)) from None
    except ValueError:
        raise DataError("is no path of a file", where=str(file)) from None
    return _load(str(file), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _load(name: str, _changed: int, _size: int) -> Calibration:
    file = Path(name)
    if not file.is_file():
        raise DataError("is not a regular file", where=name)
    try:
        with file.open("rb") as handle:
            content = handle.read(MAX_CALIBRATION_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=name) from None
    if len(content) > MAX_CALIBRATION_BYTES:
        raise DataError(f"is larger than {MAX_CALIBRATION_BYTES:,} bytes", where=name)
    try:
        return Calibration.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise DataError(
            _first(error), where=name, fix="make it anew with: consensus bench fit"
        ) from None


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, without any value."""
    items = error.errors(include_url=False, include_input=False, include_context=False)
    item = items[0]
    key = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    more = f" (and {len(items) - 1:,} more)" if len(items) > 1 else ""
    if item["type"] == "json_invalid":
        return "is not JSON"
    return f"is no calibration: {f'{key}: ' if key else ''}{message}{more}"[:400]


def _quantile(misses: tuple[float, ...], alpha: float | None) -> float | None:
    if alpha is None or not misses:
        return None
    import numpy as np

    from consensus.aggregation.conformal import conformal_quantile

    right = 1.0 - np.asarray(misses)
    found = conformal_quantile(right[:, None], np.zeros(len(misses), dtype=np.int64), alpha)
    return min(max(found, 0.0), 1.0) if math.isfinite(found) else None


def _shaped(name: str, values: Any, shape: tuple[int, ...]) -> None:
    level = [values]
    for size in shape:
        if any(len(part) != size for part in level):
            raise ValueError(f"{name} must have the shape {shape}")
        level = [inner for part in level for inner in part]


def _sums_to_one(name: str, values: tuple[float, ...]) -> None:
    if abs(math.fsum(values) - 1.0) > 1e-6:
        raise ValueError(f"{name} must sum to 1")
