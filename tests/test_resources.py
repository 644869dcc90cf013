from __future__ import annotations

from pathlib import Path

import pytest

from consensus import resources
from consensus.errors import DeclarationError
from consensus.resources import SHIPPED, packaged

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("folder", SHIPPED)
def test_a_checkout_reads_the_folder_beside_the_package(folder: resources.Shipped) -> None:
    assert packaged(folder) == ROOT / folder


@pytest.mark.parametrize("folder", SHIPPED)
def test_an_installed_package_reads_its_own_data(
    folder: resources.Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "consensus"
    (package / "_data" / folder).mkdir(parents=True)
    (tmp_path / folder).mkdir()  # somebody's own folder beside it does not count
    monkeypatch.setattr(resources, "files", lambda _: package)
    assert packaged(folder) == package / "_data" / folder


def test_an_installation_without_data_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "files", lambda _: tmp_path / "consensus")
    with pytest.raises(DeclarationError, match="carries no strategies/"):
        packaged("strategies")


@pytest.mark.parametrize("folder", SHIPPED)
def test_no_python_lies_among_the_data(folder: resources.Shipped) -> None:
    # hatchling's editable build maps these folders and breaks on a module in them
    assert list(packaged(folder).rglob("*.py")) == []
