"""The peers' own environments: made once from their exact pins, kept in the user's cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed.rounds import Arm

PEERS = Path(__file__).parent / "peers"
CACHE = Path.home() / ".cache/consensus/bench-peers"
INSTALL_S = 600
LABELS = {
    "litellm_router": "litellm Router",
    "langgraph": "LangGraph + ChatOpenAI",
    "pydantic_ai": "Pydantic AI",
    "inspect_ai": "Inspect",
    "autogen": "AutoGen AgentChat",
    "verdict": "verdict",
}


def interpreter(name: str) -> Path:
    """A peer's Python, with exactly the packages of its ``requirements.txt``.

    Raises:
        subprocess.SubprocessError: they cannot be installed.
    """
    pins = PEERS / name / "requirements.txt"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    mark = hashlib.sha256(pins.read_bytes() + version.encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{mark}"
    python = folder / "bin/python"
    if (folder / ".ready").exists():
        return python
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv") or "uv"
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
    filled = [uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(pins)]
    for command in (made, filled):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command[1], stderr=done.stderr)
    (folder / ".ready").touch()
    return python


def peers(say: Callable[[str], None]) -> tuple[list[Arm], list[str]]:
    """The peers that could be installed, and a line for each that could not."""
    found, missing = [], []
    for name, label in LABELS.items():
        try:
            python = interpreter(name)
        except (subprocess.SubprocessError, OSError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            missing.append(f"{label} could not be installed: {reason[-1] if reason else error}")
            say(missing[-1])
            continue
        found.append(Arm(label, (str(PEERS / name / "run.py"),), python, slow=True))
    return found, missing
