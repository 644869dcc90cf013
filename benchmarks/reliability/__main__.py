"""``python -m benchmarks.reliability NAME …``: one of the long runs; each has its ``--help``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

RUNS = sorted(
    file.stem
    for file in Path(__file__).parent.glob("*.py")
    if not file.stem.startswith("_") and "def main(" in file.read_text()
)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in RUNS:
        print(f"usage: python -m benchmarks.reliability {{{','.join(RUNS)}}} [--help]")
        return 0 if arguments[:1] in ([], ["--help"]) else 2
    sys.argv[0] = f"python -m benchmarks.reliability {arguments[0]}"
    run = importlib.import_module(f"benchmarks.reliability.{arguments[0]}")
    return int(run.main(arguments[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
