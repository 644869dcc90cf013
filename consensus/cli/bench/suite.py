"""``consensus bench suite check``: is this suite sound, and what is in it?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._console import note, print_json, stdout

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Suites: labelled cases with their oracles.")


@app.callback()
def root() -> None:
    """Keep the name of the one command in the command line."""


@app.command("check")
def check(
    folder: Annotated[
        Path, typer.Argument(help="A folder with suite.toml and cases.jsonl.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Check a suite whole: every line, every label against its oracle. Nothing is called.

    Python oracles are imported, since the suite names them; nothing else of it is executed.
    """
    from consensus.benchmark.suites import examine_suite

    suite, problems = examine_suite(folder)
    if suite is None:
        if as_json:
            rows = [{"where": p.where, "message": p.message, "fix": p.fix} for p in problems]
            print_json({"sound": False, "problems": rows})
        for problem in problems:
            note(f"error: {problem}")
        return 1
    counts = {name: dict(sorted(counter.items())) for name, counter in suite.counts().items()}
    remarks = suite.remarks()
    if as_json:
        print_json(
            {
                "sound": True,
                "name": suite.name,
                "revision": suite.revision,
                "sha256": suite.sha256,
                "cases": len(suite.cases),
                "counts": counts,
                "oracles": {
                    name: {"kind": given.oracle.name, "sha256": given.oracle.sha256}
                    for name, given in sorted(suite.types.items())
                },
                "remarks": remarks,
            }
        )
        return 0
    from rich.table import Table

    table = Table(
        title=f"{suite.name} {suite.revision}: {len(suite.cases):,} cases, {suite.sha256[:16]}",
        title_justify="left",
        box=None,
    )
    for name in ("type", "kind", "oracle", "low", "medium", "high", "weight"):
        table.add_column(name, justify="left" if name in {"type", "kind", "oracle"} else "right")
    for name, given in sorted(suite.types.items()):
        cases = [case for case in suite.cases if case.type == name]
        levels = [str(sum(case.complexity == c for case in cases)) for c in ("low", "medium")]
        levels.append(str(sum(case.complexity == "high" for case in cases)))
        weight = sum(case.weight for case in cases)
        table.add_row(name, given.defaults.kind, given.oracle.name, *levels, f"{weight:g}")
    stdout().print(table)
    for remark in remarks:
        note(f"note: {remark}")
    return 0
