from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

from consensus import aggregation

MODULES = [m.name for m in pkgutil.iter_modules(aggregation.__path__)]


def test_all_names_what_there_is() -> None:
    assert list(aggregation.__all__) == sorted(aggregation.__all__, key=_by_kind)
    for name in aggregation.__all__:
        assert getattr(aggregation, name) is not None


def _by_kind(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions: how the linter sorts them."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


@pytest.mark.parametrize("name", [m for m in MODULES if not m.startswith("_")])
def test_each_module_says_what_it_exports(name: str) -> None:
    module = importlib.import_module(f"consensus.aggregation.{name}")
    for exported in module.__all__:
        assert getattr(module, exported).__doc__


def test_nothing_heavy_is_imported_with_any_module() -> None:
    modules = ", ".join(f"consensus.aggregation.{name}" for name in MODULES)
    script = (
        f"import sys, {modules}; "
        "heavy = {'scipy', 'sklearn', 'pandas', 'litellm', 'choix', 'crowdkit'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
