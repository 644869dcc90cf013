"""The types that every table of a policy is made of."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from consensus.tasks import TYPE_PATTERN

__all__ = [
    "Amount",
    "Count",
    "FileName",
    "MaybeNames",
    "ModelName",
    "Name",
    "Names",
    "NotNegative",
    "Share",
    "Strict",
]

Share: TypeAlias = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Amount: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
FileName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
ModelName: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^\S+$")
]
Name: TypeAlias = Annotated[str, StringConstraints(pattern=TYPE_PATTERN)]
# TOML gives lists, and pydantic's strict mode takes no list for a tuple: the outer shape is lax.
Names: TypeAlias = Annotated[tuple[ModelName, ...], Field(strict=False, min_length=1)]
# An empty list is how a row declines what [defaults] would give it.
MaybeNames: TypeAlias = Annotated[tuple[ModelName, ...], Field(strict=False)]


class Strict(BaseModel):
    """TOML has types, so nothing is converted: ``seats = "5"`` is a mistake."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, populate_by_name=True
    )
