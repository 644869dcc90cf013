"""``consensus policy check``: what is wrong with the table, with file, line, key and fix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json
from consensus.cli.policy._shared import Folder, Json, prompts_of

if TYPE_CHECKING:
    from consensus.panel.book import PromptBook
    from consensus.policy.findings import Finding
    from consensus.policy.staleness import Current
    from consensus.policy.table import PolicyTable

__all__ = ["check", "current_state"]


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
    from consensus.policy.staleness import check_certificates

    book = prompts_of(folder)
    findings = check_table(table, prompts=book)
    if any(row.certificate is not None for row in table.tasks.values()):
        findings += check_certificates(table, current_state(table, folder, book))
    return table, sorted(findings, key=lambda f: (f.file or "", f.line or 0, f.key, f.message))


def current_state(table: PolicyTable, folder: Path, book: PromptBook) -> Current:
    """What holds today, of what certificates rest on: prompts, oracles, suites, models, prices."""
    from datetime import UTC, datetime

    from consensus.cli.policy.propose import audit_of
    from consensus.errors import ConsensusError
    from consensus.ledger import Ledger
    from consensus.ledger.place import ledger_path
    from consensus.ledger.served import newest_served
    from consensus.models.prices import PriceBook
    from consensus.policy.oracles import oracle_of
    from consensus.policy.staleness import Current

    oracles: dict[str, str] = {}
    suites: dict[str, str] = {}
    audit = audit_of(None, folder)
    for name, row in table.tasks.items():
        if row.certificate is None:
            continue
        asked = audit.tasks.get(name) if audit is not None else None
        if audit is not None and asked is not None and asked.suite is not None:
            oracles[name], suites[name] = _of_suite(audit.root / asked.suite, name)
        if row.oracle is not None and row.oracle in table.oracles:
            oracles[name] = oracle_of(table, row.oracle).sha256
    served: dict[str, str] = {}
    place = ledger_path(None, declared=table.ledger.place)
    if place.exists():
        try:
            with Ledger(place, must_exist=True) as ledger:
                served = newest_served(ledger)
        except ConsensusError as error:
            note(f"note: the ledger cannot be asked which models serve: {error}")
    return Current(
        today=datetime.now(UTC).date(),
        prompts=book.sha256,
        oracles={name: sha for name, sha in oracles.items() if sha},
        suites={name: sha for name, sha in suites.items() if sha},
        served=served,
        prices=PriceBook(overrides=table.price_overrides()),
    )


def _of_suite(folder: Path, task_type: str) -> tuple[str, str]:
    """The hashes of a task type's oracle and cases; "" where the suite cannot be read."""
    from consensus.benchmark.proposals.identity import type_sha256
    from consensus.benchmark.suites import load_suite
    from consensus.errors import ConsensusError

    try:
        suite = load_suite(folder)
    except ConsensusError as error:
        note(f"note: the suite of {task_type} cannot be read: {error}")
        return "", ""
    if task_type not in suite.types:
        return "", ""
    return suite.types[task_type].oracle.sha256, type_sha256(suite, task_type)


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
