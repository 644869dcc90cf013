"""What a product asks of models, written down and reviewed before any route is chosen."""

from __future__ import annotations

from consensus.policy.audit.model import (
    AUDIT_FILE,
    Audit,
    AuditTask,
    Category,
    Latency,
    Lengths,
    load_audit,
    parse_audit,
)

__all__ = [
    "AUDIT_FILE",
    "Audit",
    "AuditTask",
    "Category",
    "Latency",
    "Lengths",
    "load_audit",
    "parse_audit",
]
