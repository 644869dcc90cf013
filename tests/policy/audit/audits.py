"""Audits for tests: whole and small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consensus.policy.audit import Audit, load_audit

FIELDS: dict[str, str] = {
    "description": '"May this refund be paid?"',
    "owner": '"payments"',
    "kind": '"approve"',
    "complexity": '"low"',
    "consequence": '"medium"',
    "on_wrong": '"A customer waits a day longer."',
    "oracle": '"refunds"',
    "structured": "true",
    "monthly_volume": "1000",
    "input_tokens": "{ p50 = 100, p95 = 300 }",
    "output_tokens": "{ p50 = 50, p95 = 100 }",
    "criteria": '"Unused, and bought within 30 days."',
}


def task_text(name: str = "refund", without: tuple[str, ...] = (), /, **changes: str) -> str:
    """A sound task type's table; ``changes`` are TOML values."""
    fields = {key: value for key, value in (FIELDS | changes).items() if key not in without}
    return f"[tasks.{name}]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


def audit_file(folder: Path, *tasks: str, name: str = "audit.toml") -> Path:
    path = folder / name
    path.write_text("version = 1\n" + "\n".join(tasks or (task_text(),)), encoding="utf-8")
    return path


def audit_of(folder: Path, *tasks: str) -> Audit:
    return load_audit(audit_file(folder, *tasks))


def codes(findings: Any) -> list[str]:
    return [finding.code for finding in findings]
