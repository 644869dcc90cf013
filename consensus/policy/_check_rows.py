"""Rows that contradict themselves, or promise more than they can hold."""

from __future__ import annotations

import math

from consensus.policy._checking import Findings, Prompts
from consensus.policy.findings import dotted
from consensus.policy.resolve import Hop, Resolved
from consensus.policy.rows import BUILT_IN

__all__ = ["check_row"]


def check_row(
    found: Findings,
    resolved: Resolved,
    hops: tuple[Hop, ...],
    prompts: Prompts | None,
) -> None:
    first = hops[0]
    for hop in hops:
        _check_available(found, resolved, hop)
        if hop is not first and hop.spec.quorum > hop.spec.seats:
            found.add(
                "error",
                "quorum",
                hop.path,
                f"quorum {hop.spec.quorum} is more than its {hop.spec.seats} seats",
                f"quorum = {hop.spec.seats // 2 + 1}",
            )
    _check_panel(found, resolved, first)
    _check_consequence(found, resolved)
    _check_kind(found, resolved, first, prompts)


def _check_available(found: Findings, resolved: Resolved, hop: Hop) -> None:
    from consensus.orchestrators.registry import ORCHESTRATORS

    known = (*ORCHESTRATORS, "cascade")
    if hop.spec.orchestrator not in known:
        path = (
            ("strategies", hop.name, "orchestrator")
            if hop.path[0] == "strategies" or hop.name not in BUILT_IN
            else resolved.key("strategy")
        )
        found.add(
            "error",
            "unknown-name",
            path,
            f'"{hop.spec.orchestrator}" is not available in this version',
            f"use {' or '.join(known)}",
        )


def _check_panel(found: Findings, resolved: Resolved, hop: Hop) -> None:
    spec, row = hop.spec, resolved.row
    if spec.orchestrator == "single":
        own = resolved.origin.get("seats", ("defaults",)) != ("defaults",)
        if own and (row.seats or 1) > 1:
            found.add(
                "warning",
                "quorum",
                resolved.key("seats"),
                f"{row.seats} seats with a single call: only one is asked",
                'strategy = "vote"',
            )
        return
    if spec.quorum > spec.seats:
        key = "quorum" if "quorum" in resolved.origin else "seats"
        found.add(
            "error",
            "quorum",
            resolved.key(key),
            f"quorum {spec.quorum} is more than the {spec.seats} seats of {dotted(resolved.path)}",
            f"quorum = {spec.seats // 2 + 1}",
        )
    if spec.aggregator == "majority" and spec.seats % 2 == 0:
        found.add(
            "warning",
            "even-seats",
            resolved.key("seats"),
            f"{spec.seats} seats can split evenly, and a tie is no outcome",
            f"seats = {spec.seats + 1}",
        )
    stop = spec.stop
    if stop is not None and stop.evidence != "votes" and spec.ballot != "scores":
        found.add(
            "error",
            "shape",
            resolved.key("stop"),
            f'stops by a lead in {stop.evidence}, and ballot = "{spec.ballot}" gives no scores',
            'ballot = "scores", or evidence = "votes"',
        )
    if row.min_agreement is not None:
        _check_agreement(found, resolved, spec.seats, spec.quorum, row.min_agreement)
    if spec.veto is not None and spec.veto > spec.seats:
        found.add(
            "error",
            "agreement",
            resolved.key("veto"),
            f"{spec.veto} rejections cannot come from {spec.seats} seats",
            f"veto = {spec.seats} or fewer",
        )


def _check_agreement(
    found: Findings, resolved: Resolved, seats: int, quorum: int, share: float
) -> None:
    needed = seats // 2 + 1 if share <= 0.5 else math.ceil(seats * share - 1e-9)
    path = resolved.key("min_agreement")
    if share < 0.5:
        found.add(
            "warning",
            "agreement",
            path,
            f"{share:g} of the seats may agree on two outcomes at once",
            "0.5 means more than half",
        )
    elif needed > quorum:
        found.add(
            "warning",
            "agreement",
            path,
            f"{needed} of {seats} seats must agree, so a quorum of {quorum} can never act",
            f"quorum = {needed}",
        )


def _check_consequence(found: Findings, resolved: Resolved) -> None:
    row = resolved.row
    judged = row.losses is not None or row.alpha is not None
    if row.consequence in ("high", "irreversible") and not judged and row.escalate_to is None:
        found.add(
            "warning",
            "no-losses",
            resolved.key("consequence"),
            f"consequence {row.consequence} with neither losses, alpha nor escalate_to: "
            "a bare majority acts",
            "add losses = { false_approve = …, false_reject = … }"
            if row.kind in (None, "approve")
            else 'add escalate_to = ["frontier"]',
        )


_FIELD_KINDS = {"options": "choose", "scale": "score", "output_schema": "generate"}


def _check_kind(
    found: Findings,
    resolved: Resolved,
    hop: Hop,
    prompts: Prompts | None,
) -> None:
    row = resolved.row
    if row.kind is None:
        return
    for name, kind in _FIELD_KINDS.items():
        if getattr(row, name) is not None and row.kind != kind:
            key = "schema" if name == "output_schema" else name
            found.add(
                "error",
                "kind",
                (*resolved.path, key),
                f"belongs to tasks of kind {kind}, and this row is for {row.kind}",
                "take it out",
            )
    own_losses = resolved.origin.get("losses") == resolved.path
    if own_losses and row.kind != "approve":
        found.add(
            "warning",
            "kind",
            resolved.key("losses"),
            f"false_approve and false_reject mean nothing to tasks of kind {row.kind}",
            "use alpha",
        )
    if row.ballot == "token" and row.kind in ("rank", "generate"):
        found.add(
            "warning",
            "kind",
            resolved.key("ballot"),
            f"one token cannot answer a task of kind {row.kind}",
            'ballot = "structured"',
        )
    if prompts is not None:
        for name in hop.spec.framings:
            framing = prompts.framings.get(name)
            if framing is not None and row.kind not in framing.kinds:
                found.add(
                    "error",
                    "unknown-name",
                    resolved.key("framings"),
                    f'framing "{name}" does not suit tasks of kind {row.kind}',
                    f"it suits {', '.join(sorted(framing.kinds))}",
                )
