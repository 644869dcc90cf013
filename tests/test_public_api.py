"""What the package shows, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import consensus

HEAVY = (
    "litellm",
    "anthropic",
    "openai",
    "scipy",
    "sqlalchemy",
    "sklearn",
    "numpy",
    "jinja2",
    "xllamacpp",
    "aiohttp",
    "matplotlib",
    "rich",
    "typer",
)


def test_everything_that_is_promised_is_there() -> None:
    for name in consensus.__all__:
        assert getattr(consensus, name) is not None
    assert sorted(consensus.__all__) == consensus.__dir__()


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = consensus.nothing


def test_every_module_says_what_it_exports_and_that_is_true() -> None:
    for module in walk_packages(consensus.__path__, "consensus."):
        loaded = import_module(module.name)
        assert loaded.__doc__, f"{module.name} does not say what it is for"
        for name in getattr(loaded, "__all__", []):
            assert hasattr(loaded, name), f"{module.name} has no {name}"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import consensus", set()),
        ("from consensus import Approve, Decision; Approve(type='t', subject='s')", set()),
        ("from consensus import Engine", {"numpy", "jinja2"}),
    ],
)
def test_importing_loads_nothing_heavy(statement: str, allowed: set[str]) -> None:
    assert not (loaded_by(statement) & set(HEAVY)) - allowed


def test_an_engine_on_scripted_models_never_loads_a_providers_sdk(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[tiers]\nsmall = ["scripted/a"]\n[defaults]\ntier = "small"\n')
    statement = (
        "import consensus\n"
        f"d = consensus.decide(consensus.Approve(type='t', subject='s'), policy={str(policy)!r})\n"
        "assert d.action == 'act', d\n"
    )
    assert not loaded_by(statement) & {"litellm", "anthropic", "openai", "scipy", "sklearn"}


def test_there_is_no_python_among_policies_and_prompts() -> None:
    """It would break hatchling's editable build."""
    root = Path(__file__).resolve().parent.parent
    for folder in ("prompts", "strategies"):
        assert not list((root / folder).rglob("*.py"))
