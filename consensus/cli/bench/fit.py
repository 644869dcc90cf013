"""``consensus bench fit``: a panel's calibration from recorded answers, and what it is worth."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import note, print_json, stdout

if TYPE_CHECKING:
    from consensus.benchmark.fitting import Fitted
    from consensus.benchmark.fitting_stop import FittedStop
    from consensus.benchmark.run_format.run import RecordedRun

__all__ = ["fit"]


def fit(
    panel: Annotated[
        str,
        typer.Option(
            help="The models that have seats, with commas. MODEL@VARIANT names one variant.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The calibration file to write.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder of recorded answers, or a run of consensus bench.", show_default=False
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="In the place of --data: a ledger whose labelled decisions are the cases, each "
            "weighted by one over the chance that it had to be looked at (consensus ledger label, "
            "queue). Needs --type.",
            show_default=False,
        ),
    ] = None,
    aggregator: Annotated[
        str,
        typer.Option(help="weighted, blocks, stacked, mean, scores (whole scores)."),
    ] = "blocks",
    seats: Annotated[
        int | None,
        typer.Option(
            help="All seats: models in turn, samples in turn. Default: one a model.",
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Prompt or method. Default: as in bench replay.",
            show_default=False,
        ),
    ] = None,
    task_type: Annotated[
        str | None,
        typer.Option("--type", help="Only cases of this task type.", show_default=False),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            help="RECORDED=NAME: the policy's name of a recorded model or option; repeatable.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of the halves: a case calibrates by sha256(SEED:case_id).")
    ] = 0,
    alpha: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="For the report on prediction sets.")
    ] = 0.05,
    content_free: Annotated[
        Path | None,
        typer.Option(
            help="The models' answers to content-free cases (bench content-free), for mean.",
            show_default=False,
        ),
    ] = None,
    no_labels: Annotated[
        bool,
        typer.Option(
            "--no-labels",
            help="Look at no label in fitting: what the models' own votes make of each case "
            "(Dawid–Skene) stands in. Posteriors are then not called calibrated. Labels, where "
            "there are any, only measure it.",
        ),
    ] = False,
    balanced: Annotated[
        bool,
        typer.Option(
            "--balanced",
            help="Each label counts alike, however common it is here: for what balanced accuracy "
            "is to be best at.",
        ),
    ] = False,
    unstable: Annotated[
        bool, typer.Option("--unstable", help="Also use cases whose label_stable is false.")
    ] = False,
    stop: Annotated[
        str | None,
        typer.Option(
            help="Fit also the stopping rule lead, on what is added up: votes, scores or both.",
            show_default=False,
        ),
    ] = None,
    same: Annotated[
        float,
        typer.Option(
            min=0.5,
            max=1,
            help="With --stop: share of the cases to be decided as the whole panel would.",
        ),
    ] = 0.98,
    waves: Annotated[str, typer.Option(help="With --stop: seats asked at a time, as 3,2.")] = "1",
    row: Annotated[
        str | None,
        typer.Option(
            help="Write what was fitted into this row of the policy (calibration, stop and what "
            "belongs to it).",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="With --row: the policy. Default: the project's.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fit an aggregator on half of the labelled cases, and report on the other half.

    Nothing is called. The file goes into a policy row: calibration = "FILE.json".

    Example:
      consensus bench fit --data runs/refunds --panel A,B,C --out strategies/refunds.json
      consensus bench fit --data runs/t --panel A --seats 8 --aggregator scores --stop scores \\
        --out strategies/t.json --row t
      consensus bench fit --ledger l.db --type refunds --panel A,B --out strategies/refunds.json
    """
    from consensus.benchmark.fitting import fit_calibration
    from consensus.benchmark.recorded import load_run
    from consensus.errors import DataError

    families = ("weighted", "blocks", "stacked", "mean", "scores")
    if aggregator not in families:
        raise DataError(
            f'"{aggregator}" is not fitted',
            where="--aggregator",
            fix=f"one of {', '.join(families)}",
        )
    names = {}
    for pair in rename or []:
        recorded, sign, name = pair.partition("=")
        if not (sign and recorded and name):
            raise DataError(f'"{pair}" is not RECORDED=NAME', where="--as")
        names[recorded] = name
    if content_free is not None and aggregator != "mean":
        raise DataError("is for mean alone", where="--content-free", fix="--aggregator mean")
    if stop not in (None, "votes", "scores", "both"):
        raise DataError(f'"{stop}" is not added up', where="--stop", fix="votes, scores, both")
    sizes = [int(size) for size in waves.split(",") if size.strip().isdigit()]
    if not sizes or min(sizes) < 1:
        raise DataError(f'"{waves}" are no waves', where="--waves", fix="--waves 3,2")
    if (data is None) == (ledger is None):
        raise DataError("name the answers", where="bench fit", fix="--data FOLDER or --ledger FILE")
    run = _labelled(ledger, task_type) if data is None else load_run(data, unstable=unstable)
    for reason, count in sorted(run.report.broken.items()):
        note(f"warning: {count:,} broken rows are left out ({reason})")
    members = [name.strip() for name in panel.split(",") if name.strip()]
    fitted = fit_calibration(
        run,
        members,
        aggregator=aggregator,  # type: ignore[arg-type] # checked above
        seats=seats,
        variant=variant,
        task_type=task_type,
        names=names,
        seed=seed,
        alpha=alpha,
        fitted_on=datetime.now(UTC).date().isoformat(),
        content_free=None if content_free is None else load_run(content_free),
        gold=not no_labels,
        balanced=balanced,
    )
    stopping = None
    if stop is not None:
        from consensus.benchmark.fitting_stop import fit_stop

        stopping = fit_stop(
            run,
            members,
            evidence=stop,  # type: ignore[arg-type] # checked above
            seats=seats,
            variant=variant,
            task_type=task_type,
            seed=seed,
            same=same,
            waves=sizes,
        )
    fitted.calibration.save(out)
    if row is not None:
        _write(policy, row, out, fitted, stopping)
    if as_json:
        report = fitted.report.to_dict()
        report["stop"] = None if stopping is None else stopping.to_dict()
        models = dict(zip(fitted.calibration.models, fitted.calibration.seats, strict=True))
        print_json({"file": str(out), "models": models, **report})
        return
    _show(fitted)
    if stopping is not None:
        _show_stop(stopping)
    note(f"wrote {out}: calibration = {out.name!r} in the row of a policy beside it")


def _write(
    policy: Path | None, row: str, out: Path, fitted: Fitted, stopping: FittedStop | None
) -> None:
    """What was fitted, where the row reads it."""
    from consensus.benchmark.fitting_stop import write_row
    from consensus.errors import DataError
    from consensus.policy.load import find_policy

    folder = find_policy(policy)
    root = (folder if folder.is_dir() else folder.parent).resolve()
    if not out.resolve().is_relative_to(root):
        raise DataError(
            "is not in the policy's folder, where a row looks for it",
            where=str(out),
            fix=f"--out {root / out.name}",
        )
    values: dict[str, Any] = {} if stopping is None else dict(stopping.row)
    values["calibration"] = out.resolve().relative_to(root).as_posix()
    values["aggregator"] = fitted.calibration.aggregator
    note(f"wrote {write_row(folder, row, values)}: row {row}")


def _show_stop(found: FittedStop) -> None:
    stop = found.row["stop"]
    keys = ", ".join(f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}"
                     for k, v in stop.items())  # fmt: skip
    out = stdout()
    out.print(f"stop = {{ {keys} }}", markup=False, highlight=False, soft_wrap=True)
    out.print(
        f"  asks {found.calls:.2f} of {found.calls_whole:.2f} ballots, decides {found.same:.1%} as "
        f"the whole panel, right {found.accuracy:.1%} (whole panel {found.accuracy_whole:.1%}) on "
        f"{found.held_out:,} held-out cases",
        markup=False,
        highlight=False,
    )


def _labelled(ledger: Path | None, task_type: str | None) -> RecordedRun:
    """The labelled decisions of a type, by way of a folder that is gone afterwards."""
    import tempfile

    from consensus.benchmark.labelled import export_labelled
    from consensus.benchmark.recorded import load_run
    from consensus.errors import DataError
    from consensus.ledger.place import ledger_path
    from consensus.ledger.store import Ledger

    if task_type is None:
        raise DataError("says nothing of which decisions", where="--ledger", fix="--type TYPE")
    with (
        Ledger(ledger_path(ledger), must_exist=True) as book,
        tempfile.TemporaryDirectory(prefix="consensus-") as place,
    ):
        exported = export_labelled(book, Path(place) / "run", task_type=task_type)
        for reason, count in sorted(exported.left_out.items()):
            note(f"note: {count:,} labels left out ({reason})")
        return load_run(Path(place) / "run")


def _show(fitted: Fitted) -> None:
    from rich.table import Table

    report = fitted.report
    out = stdout()
    out.print(
        f"{report.aggregator}: fitted on {report.cases:,} cases, "
        f"measured on {report.held_out:,} others",
        highlight=False,
    )
    if report.effective is not None:
        out.print(
            f"weighted: they say as much as {report.effective:.1f} cases of equal weight, the "
            f"others as {report.held_out_effective or 0:.1f} (n_eff)",
            highlight=False,
        )
    table = Table(box=None)
    for name in ("", "cold start", "calibrated"):
        table.add_column(name, justify="right" if name else "left", style=None if name else "dim")
    if report.error is not None:
        table.add_row("distance from the right score", *(f"{e:.3f}" for e in report.error))
    if report.before is not None and report.after is not None:
        for label, key in (
            ("accuracy", "accuracy"),
            ("log loss", "log_loss"),
            ("Brier", "brier"),
            ("calibration error (ECE)", "ece"),
        ):
            pair = (getattr(report.before, key), getattr(report.after, key))
            table.add_row(label, *(f"{value:.3f}" for value in pair))
    out.print(table)
    if report.after is not None:
        bins = Table(title="reliability, calibrated", title_justify="left", box=None)
        for name in ("said", "came true", "cases"):
            bins.add_column(name, justify="right")
        for predicted, observed, cases in report.after.bins:
            bins.add_row(f"{predicted:.3f}", f"{observed:.3f}", f"{cases:,}")
        out.print(bins)
    if report.coverage is not None and report.acted is not None:
        wrong = "" if report.acted_error is None else f", of which {report.acted_error:.1%} wrong"
        out.print(
            f"prediction sets at α = {report.alpha:g}: {report.coverage:.1%} hold the right "
            f"option; {report.acted:.1%} hold one option only{wrong}",
            markup=False,
        )
    if report.bias_log_loss:
        tried = ", ".join(f"{way} {loss:.4f}" for way, loss in report.bias_log_loss.items())
        out.print(
            f"label bias taken out by: {report.bias_from} (log loss across folds: {tried})",
            markup=False,
            highlight=False,
        )
    for reason, count in report.left_out.items():
        note(f"note: {count:,} cases left out ({reason})")
    for text in report.notes:
        note(f"note: {text}")
