"""Where the packaged defaults lie: the one accessor for data that ships with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from consensus.errors import DeclarationError

__all__ = ["SHIPPED", "Shipped", "packaged"]

Shipped: TypeAlias = Literal["prompts", "strategies"]
SHIPPED: tuple[Shipped, ...] = get_args(Shipped)


def packaged(folder: Shipped) -> Path:
    """The folder of shipped defaults: inside an installed wheel, beside the package in a checkout.

    Raises:
        DeclarationError: if the installation carries no such folder.
    """
    package = Path(str(files("consensus")))
    for place in (package / "_data" / folder, package.parent / folder):
        if place.is_dir():
            return place
    raise DeclarationError(
        f"the installed package carries no {folder}/",
        where=str(package),
        fix="install consensus-engine again",
    )
