"""``consensus audit check``: what the audit lacks, with file, line, key and fix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json
from consensus.cli.audit._shared import AuditFile, Json, PolicyOption, own_policy

if TYPE_CHECKING:
    from consensus.policy.findings import Finding

__all__ = ["check"]


def check(
    audit: AuditFile = Path("audit.toml"),
    *,
    policy: PolicyOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 for warnings too, not only for errors.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find what the audit lacks or only seems to say. Exit 1 if there are errors.

    Held against strategies/ where there is one: oracles, kinds, consequences, windows, latency. An
    oracle may also stand in the suite that the task names.

    Example:
      consensus audit check
      audit.toml:44: error: tasks.refund_approval.owner: nobody answers for this task type …
    """
    from consensus.benchmark.synthetic.existing import judged_by_suites
    from consensus.errors import PolicyError
    from consensus.models.prices import PriceBook
    from consensus.policy.audit.check import check_audit
    from consensus.policy.audit.model import load_audit, parse_audit
    from consensus.policy.findings import Finding

    findings: list[Finding]
    if not audit.exists():
        load_audit(audit)  # says how to make one
    try:
        parsed, findings = parse_audit(audit)
    except PolicyError as error:
        parsed, findings = None, [Finding.of(error)]
    if parsed is not None:
        table = own_policy(policy)
        prices = None if table is None else PriceBook(overrides=table.price_overrides())
        judged = judged_by_suites(parsed)
        findings = check_audit(parsed, table=table, prices=prices, judged=judged)
    errors = sum(finding.level == "error" for finding in findings)
    failed = bool(findings) if strict else errors > 0
    if as_json:
        print_json(
            {
                "audit": str(audit),
                "ok": not failed,
                "findings": [finding.as_dict() for finding in findings],
            }
        )
    else:
        for finding in findings:
            sys.stdout.write(f"{finding}\n")
        counted = [
            f"{n} {what}{'' if n == 1 else 's'}"
            for n, what in ((errors, "error"), (len(findings) - errors, "warning"))
            if n
        ]
        types = "" if parsed is None else f"{len(parsed.tasks)} task types, "
        note(f"{audit}: {types}{', '.join(counted) or 'nothing to complain about'}")
    if failed:
        raise typer.Exit(1)
