from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import consensus.panel

HEAVY = ("jinja2", "yaml", "jsonschema", "litellm", "anthropic", "numpy", "scipy", "sqlalchemy")


def test_importing_the_panel_loads_nothing_heavy() -> None:
    code = f"import sys, consensus.panel; print([m for m in {HEAVY} if m in sys.modules])"
    root = Path(consensus.panel.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "[]"


def test_all_names_are_there() -> None:
    assert all(hasattr(consensus.panel, name) for name in consensus.panel.__all__)
