"""``consensus bench content-free``: the cases that measure a model's label bias."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._console import note, print_json, stdout

__all__ = ["content_free"]


def content_free(
    suite: Annotated[
        Path, typer.Argument(help="A folder with suite.toml and cases.jsonl.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(help="The folder to write the content-free suite to.", show_default=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a suite that asks the same questions about nothing ("N/A").

    Its answers show which label a model prefers before it has read the case. Nothing is called.

    Example:
      consensus bench content-free benchmarks/suites/mine --out free
      consensus bench run free --models A,B --out runs/free
      consensus bench fit --data runs/mine --content-free runs/free --panel A,B
        --aggregator mean --out strategies/mine.json
    """
    from consensus.benchmark.content_free import INPUTS, write_content_free

    types = write_content_free(suite, out)
    if as_json:
        print_json({"folder": str(out), "types": list(types), "inputs": list(INPUTS)})
        return
    stdout().print(f"{out}: {len(types)} task types", markup=False, highlight=False)
    note(f"next: consensus bench run {out} --models MODELS --out runs/{out.name}")
