"""From a declaration (a TOML table) to an oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from consensus.errors import SuiteError
from consensus.oracles.matching import Exact, Label, Normalisation, Numeric
from consensus.oracles.python import PythonOracle, read_source
from consensus.oracles.ranking import Ranking
from consensus.oracles.rubric import Rubric
from consensus.oracles.structured import Fields, JsonSchema
from consensus.oracles.verdicts import Oracle
from consensus.strangers import inside, parse_json, read_bounded
from consensus.tasks import describe

__all__ = ["OracleDeclaration", "declare_oracle"]


MAX_FILE_BYTES = 4_000_000
"""The most that a schema or a rubric may hold."""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ExactDeclared(_Declared):
    """``kind = "exact"``."""

    kind: Literal["exact"] = Field(description="Decided by equality with the reference.")
    normalisation: tuple[Normalisation, ...] = Field(
        default=(), description="What is made equal before texts are compared."
    )

    def build(self, folder: Path) -> Oracle:
        """The oracle."""
        return Exact(self.normalisation)


class LabelDeclared(_Declared):
    """``kind = "label"``."""

    kind: Literal["label"] = Field(description="Decided by the right label of a closed set.")
    labels: tuple[str, ...] = Field(description="The closed set.")

    def build(self, folder: Path) -> Oracle:
        """The oracle."""
        return Label(self.labels)


class NumericDeclared(_Declared):
    """``kind = "numeric"``."""

    kind: Literal["numeric"] = Field(description="Decided by a number within a tolerance.")
    absolute: float = Field(default=0.0, description="Distance that still counts as right.")
    relative: float = Field(default=0.0, description="The same, as a share of the reference.")

    def build(self, folder: Path) -> Oracle:
        """The oracle."""
        return Numeric(self.absolute, self.relative)


class SchemaDeclared(_Declared):
    """``kind = "json_schema"``: inline, or a file beside the declaration."""

    kind: Literal["json_schema"] = Field(description="Decided by a JSON Schema.")
    json_schema: dict[str, Any] | None = Field(
        default=None, alias="schema", description="The schema itself (2020-12)."
    )
    file: str | None = Field(default=None, description="Its file instead, in this folder.")

    def build(self, folder: Path) -> Oracle:
        """The oracle."""
        if (self.json_schema is None) == (self.file is None):
            raise SuiteError('a json_schema oracle takes either "schema" or "file"')
        if self.json_schema is not None:
            return JsonSchema(self.json_schema)
        path = inside(folder, str(self.file), error=SuiteError)
        try:
            return JsonSchema(parse_json(read_bounded(path, MAX_FILE_BYTES, error=SuiteError)))
        except ValueError as error:
            raise SuiteError(f"cannot be read as JSON: {error}", where=str(path)) from None


class FieldsDeclared(_Declared):
    """``kind = "fields"``."""

    kind: Literal["fields"] = Field(
        description="Decided by how many of the reference's fields are right."
    )
    fields: dict[str, float] = Field(
        default={}, description="Weight of each field; all of the reference's alike otherwise."
    )
    normalisation: tuple[Normalisation, ...] = Field(
        default=("unicode", "space", "case"),
        description="What is made equal before texts are compared.",
    )
    tolerance: float = Field(
        default=0.0, ge=0, description="Distance at which a number still counts as right."
    )
    floor: float = Field(default=1.0, description="Share of the fields that must be right.")

    def build(self, folder: Path) -> Oracle:
        """The oracle."""
        return Fields(self.fields, self.normalisation, self.tolerance, self.floor)


class RankingDeclared(_Declared):
    """``kind = "ranking"``."""

    kind: Literal["ranking"] = Field(description="Decided by agreement with the reference's order.")
    top_k: int | None = Field(
        default=None, description="Compare the first k only; the whole order otherwise."
    )
    floor: float = Field(default=1.0, description="Score at which an order is acceptable.")

    def build(self, folder: Path) -> Oracle:
        """The oracle."""
        return Ranking(self.top_k, self.floor)


class RubricDeclared(_Declared):
    """``kind = "rubric"``: graded by a model; ``file`` is a Markdown rubric."""

    kind: Literal["rubric"] = Field(description="Decided by a grading model.")
    grader: str = Field(description="The grading model; never one that is graded.")
    file: str | None = Field(
        default=None, description="Markdown file of the rubric, in this folder; the shipped one."
    )
    floor: float = Field(
        default=4.0, description="Mean mark, from 1 to 5, at which an answer is acceptable."
    )

    def build(self, folder: Path) -> Oracle:
        """The oracle."""
        from consensus.resources import packaged

        path = (
            inside(folder, self.file, error=SuiteError)
            if self.file is not None
            else packaged("prompts") / "rubrics" / "quality.md"
        )
        try:
            text = read_bounded(path, MAX_FILE_BYTES, error=SuiteError).decode()
        except UnicodeDecodeError as error:
            raise SuiteError(f"cannot be read: {error}", where=str(path)) from None
        return Rubric(self.grader, _without_front_matter(text), self.floor)


class PythonDeclared(_Declared):
    """``kind = "python"``: code that the user named, and the only code that runs."""

    kind: Literal["python"] = Field(description="Decided by a function of yours.")
    file: str = Field(description="Python file, in this folder.")
    function: str = Field(description="Its function: (answer, reference) or (…, task=).")
    graded: bool = Field(default=False, description="Whether it returns any number from 0 to 1.")
    floor: float = Field(
        default=1.0, gt=0, le=1, description="Number at which an answer is acceptable."
    )

    def build(self, folder: Path) -> Oracle:
        """The oracle."""
        path = inside(folder, self.file, error=SuiteError)
        source = read_source(path, self.function)
        return PythonOracle(path, self.function, source, self.graded, self.floor)


OracleDeclaration = Annotated[
    ExactDeclared
    | LabelDeclared
    | NumericDeclared
    | SchemaDeclared
    | FieldsDeclared
    | RankingDeclared
    | RubricDeclared
    | PythonDeclared,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[OracleDeclaration] = TypeAdapter(OracleDeclaration)


def declare_oracle(data: object, folder: Path, *, where: str | None = None) -> Oracle:
    """Make the oracle that a table declares.

    Args:
        data: the table: ``kind`` and its settings.
        folder: files are named relative to it and must lie in it.
        where: file and key, for errors.

    Raises:
        SuiteError: naming the key and what was expected.
    """
    try:
        declared = _ADAPTER.validate_python(data)
    except ValidationError as error:
        raise SuiteError(describe(error), where=where) from None
    try:
        return declared.build(folder)
    except SuiteError as error:
        if error.where is not None or where is None:
            raise
        raise SuiteError(error.message, where=where, fix=error.fix) from error


def _without_front_matter(text: str) -> str:
    if text.startswith("---\n"):
        _, _, rest = text[4:].partition("\n---\n")
        return rest.strip()
    return text.strip()
