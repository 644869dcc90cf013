"""Calibrations that are none, that are for something else, or that a row would need."""

from __future__ import annotations

from collections import Counter

from consensus.errors import PolicyError
from consensus.orchestrators.calibration import Calibration
from consensus.orchestrators.spec import LEARNING
from consensus.policy._checking import Findings, Prompts, layers
from consensus.policy.findings import dotted
from consensus.policy.resolve import Hop, Resolved, calibration_of
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable
from consensus.tasks import Approve, Compare

__all__ = ["check_calibrations", "check_files"]


def check_files(table: PolicyTable, found: Findings) -> None:
    """Every calibration that is named can be read, and is of the aggregator beside it."""
    for layer in layers(table):
        name = layer.fields.calibration
        if name is None:
            continue
        path = (*layer.path, "calibration")
        try:
            calibration = calibration_of(table, path, name)
        except PolicyError as error:
            found.add("error", "calibration", path, error.message)
            continue
        own = layer.fields.aggregator
        if own is not None and own != calibration.aggregator:
            found.add(
                "error",
                "calibration",
                path,
                f'calibrates "{calibration.aggregator}", and the row says aggregator = "{own}"',
                "take aggregator out",
            )


def check_calibrations(
    found: Findings, resolved: Resolved, hops: tuple[Hop, ...], prompts: Prompts | None
) -> None:
    """A row's first choice against its calibration; the rule that needs one."""
    first = hops[0]
    calibration = first.spec.calibration
    if calibration is None:
        _check_without(found, resolved, hops)
    elif _check_fits(found, resolved, calibration):
        _check_panel(found, resolved, first, calibration)
        _check_prompts(found, resolved, calibration, prompts)
    if first.spec.conformal:
        _check_conformal(found, resolved, hops, calibration)
    _check_waves(found, resolved, first)


def _check_without(found: Findings, resolved: Resolved, hops: tuple[Hop, ...]) -> None:
    aggregator = hops[0].spec.aggregator
    scored = hops[0].spec.ballot == "scores"  # what is asked for needs no labels to be read
    if aggregator in LEARNING and not (aggregator == "scores" and scored):
        start = "a softmax of stated confidences" if aggregator == "weighted" else "a cold start"
        if aggregator == "scores":
            start = "the median of a score, a cold start elsewhere"
        found.add(
            "warning",
            "uncalibrated",
            resolved.key("aggregator"),
            f'"{aggregator}" learns from labelled cases; without a calibration it is {start}',
            'calibration = "FILE.json", made by: consensus bench fit',
        )


def _check_fits(found: Findings, resolved: Resolved, calibration: Calibration) -> bool:
    """Whether it is for the row's kind; what else does not fit is found."""
    row, path = resolved.row, resolved.key("calibration")
    if row.kind is not None and row.kind != calibration.kind:
        found.add(
            "error",
            "calibration",
            path,
            f"is for tasks of kind {calibration.kind}, and {dotted(resolved.path)} for {row.kind}",
            "fit one on this type's own cases",
        )
        return False
    options = _options(row)
    if options is not None and not calibration.fits(row.kind or calibration.kind, options):
        found.add(
            "error",
            "calibration",
            path,
            f"is for the options {', '.join(calibration.options or ())}, "
            f"and {dotted(resolved.path)} has {', '.join(options)}",
            "fit it with --as RECORDED=OPTION",
        )
    if calibration.scale is not None and row.scale is not None and row.scale != calibration.scale:
        low, high = calibration.scale
        found.add("error", "calibration", path, f"is for scores from {low:g} to {high:g}")
    own = str(resolved.path[-1])
    if len(resolved.path) == 2 and calibration.task_type not in ("", own):
        found.add(
            "warning",
            "calibration",
            path,
            f'was fitted on tasks of type "{calibration.task_type}"',
            "a calibration says nothing of other types",
        )
    return True


def _options(row: TaskRow) -> tuple[str, ...] | None:
    if row.kind == "approve":
        return Approve.OPTIONS
    if row.kind == "compare":
        return Compare.OPTIONS
    return row.options if row.kind == "choose" else None


def _check_panel(found: Findings, resolved: Resolved, hop: Hop, calibration: Calibration) -> None:
    path = resolved.key("calibration")
    asked = Counter(hop.seat_models())
    unseen = [model for model in asked if model not in calibration.models]
    if unseen:
        found.add(
            "warning",
            "uncalibrated",
            path,
            f"has not seen {', '.join(unseen)}: these seats count as at a cold start, "
            "and the posterior is not calibrated",
            "fit it with them, or with --as RECORDED=MODEL",
        )
    fitted = dict(zip(calibration.models, calibration.seats, strict=True))
    other = [m for m, n in asked.items() if m in fitted and fitted[m] != n]
    if other:
        seats = ", ".join(f"{m}: {fitted[m]}, here {asked[m]}" for m in other)
        found.add(
            "warning",
            "uncalibrated",
            path,
            f"was fitted with other numbers of seats ({seats})",
            f"consensus bench fit --seats {hop.seats}",
        )


def _check_prompts(
    found: Findings, resolved: Resolved, calibration: Calibration, prompts: Prompts | None
) -> None:
    now = getattr(prompts, "sha256", None)
    if now and calibration.prompts_sha256 and calibration.prompts_sha256 != now:
        found.add(
            "warning",
            "uncalibrated",
            resolved.key("calibration"),
            "was fitted on answers to other prompts than today's",
            "run the suite again with these prompts, and fit anew",
        )


def _check_conformal(
    found: Findings,
    resolved: Resolved,
    hops: tuple[Hop, ...],
    calibration: Calibration | None,
) -> None:
    path, spec = resolved.key("conformal"), hops[0].spec
    if calibration is None or not calibration.stages:
        found.add(
            "error",
            "calibration",
            path,
            "prediction sets come from a calibration, and there is none",
            'calibration = "FILE.json", or conformal = false',
        )
        return
    if spec.alpha is None:
        found.add("error", "calibration", path, "needs the error that is allowed", "alpha = 0.05")
        return
    from consensus.aggregation.conformal import cases_needed

    place, exact = calibration.stage(set(hops[0].seat_models()) & set(calibration.models))
    stage, needed = calibration.stages[place], cases_needed(spec.alpha)
    if exact and stage.cases < needed:
        found.add(
            "error",
            "calibration",
            path,
            f"α = {spec.alpha:g} needs {needed} calibration cases, and there are {stage.cases}",
            f"alpha = {1 / (stage.cases + 1):.2g} or more, or label more cases",
        )
    for hop in hops[1:]:
        strange = [m for m in hop.models if m not in calibration.models]
        if strange and hop.spec.calibration is None:
            found.add(
                "warning",
                "uncalibrated",
                resolved.key("escalate_to"),
                f"{hop.name} asks {', '.join(strange)}, which the calibration has not seen: "
                "it can never act by prediction sets",
                "fit the calibration with it in --panel",
            )


def _check_waves(found: Findings, resolved: Resolved, hop: Hop) -> None:
    """Only counts can be settled before all are in; the resolved strategy asks all at once then."""
    row = resolved.row
    asked = row.waves is not None or row.stop is not None
    learning = hop.spec.aggregator in LEARNING or hop.spec.calibration is not None
    if asked and learning and not hop.spec.waves and hop.spec.stop is None:
        found.add(
            "warning",
            "not-acted-on",
            resolved.key("stop" if row.stop is not None else "waves"),
            "that the rest cannot change the decision is never certain of weighed ballots: "
            f'with "{hop.spec.aggregator}" all seats are asked at once',
            'stop = { rule = "posterior" }',
        )
