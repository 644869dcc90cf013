"""``consensus policy check``: what is wrong with the table, with file, line, key and fix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json
from consensus.cli.policy._shared import Folder, Json, prompts_of

if TYPE_CHECKING:
    from consensus.policy.findings import Finding
    from consensus.policy.table import PolicyTable

__all__ = ["check"]


def check(
    path: Folder = None,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 for warnings too, not only for errors.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find what is wrong with the table: file, line, key and fix. Exit 1 if there are errors."""
    from consensus.policy.load import find_policy

    folder = find_policy(path)
    table, findings = _findings(folder)
    errors = sum(finding.level == "error" for finding in findings)
    failed = bool(findings) if strict else errors > 0
    if as_json:
        print_json(
            {
                "policy": str(folder),
                "ok": not failed,
                "version_hash": table.version_hash if table is not None else None,
                "findings": [finding.as_dict() for finding in findings],
            }
        )
    else:
        for finding in findings:
            sys.stdout.write(_line(finding) + "\n")
        note(_summary(folder, table, errors, len(findings) - errors))
    if failed:
        raise typer.Exit(1)


def _findings(folder: Path) -> tuple[PolicyTable | None, list[Finding]]:
    """Every finding; a file that is not TOML, or not a table, has no others."""
    from consensus.errors import PolicyError
    from consensus.policy.check import check as check_table
    from consensus.policy.findings import Finding
    from consensus.policy.load import parse_policy

    try:
        table, findings = parse_policy(folder)
    except PolicyError as error:
        file, _, line = (error.where or "").rpartition(":")
        known = line.isdigit()
        found = Finding(
            level="error",
            code="shape",
            key="",
            message=error.message,
            fix=error.fix,
            file=file if known else error.where,
            line=int(line) if known else None,
        )
        return None, [found]
    if table is None:
        return None, findings
    return table, check_table(table, prompts=prompts_of(folder))


def _line(finding: Finding) -> str:
    where = f"{finding.where}: " if finding.where else ""
    key = f"{finding.key}: " if finding.key else ""
    fix = f" ({finding.fix})" if finding.fix else ""
    return f"{where}{finding.level}: {key}{finding.message}{fix}"


def _summary(folder: Path, table: PolicyTable | None, errors: int, warnings: int) -> str:
    counts = [
        f"{n} {what}{'' if n == 1 else 's'}"
        for n, what in ((errors, "error"), (warnings, "warning"))
        if n
    ]
    said = ", ".join(counts) or "nothing to complain about"
    if table is None:
        return f"{folder}: {said}"
    return f"{folder}: {len(table.tasks)} task types, {len(table.tiers)} tiers, {said}"
