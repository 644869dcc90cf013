"""The study's Markdown: tables of what was measured, and the command behind each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from consensus._version import __version__
from consensus.benchmark.replay import Replay
from consensus.benchmark.studies.declared import Passes, Single, Study, Table, command_of

if TYPE_CHECKING:
    from consensus.benchmark.study import Found

__all__ = ["grid", "render_header", "render_study"]

_THIRD_DIGIT = 5.1e-4
"""Half a unit of the third digit, and a little for a published figure that was itself rounded."""


def render_header(date: str | None) -> str:
    """What the file is, how it came about, and how to read it."""
    when = f", {date}" if date else ""
    return f"""# Results

Written by `consensus bench study` (version {__version__}{when}) from recorded answers; no figure is
put in by hand. Every row has a number, and the command of that number repeats it; set
`CONSENSUS_DATA` to the folder of the data sets first.

- **accuracy**: ties share their credit. 95 % intervals are over cases.
- **frontier**: one pass of the model compared with. **difference**: to it, in points, paired by
  case.
- **best member**: the most accurate single model of the panel, alone (for a learned row: the one
  that is so on the half that it learned on).
- **calls**: recorded answers a case. **ties**: share of cases without a single winner.
- **cost ratio**: cost a case over the frontier's; – where a price is not known.
- **learned** rows (`--calibrate half`) learn on one half of the cases; all their figures come from
  the held-out half, means over the splits, so they are not on the same cases as the rows beside
  them.
- **verdict**: by the rule of `consensus/benchmark/verdict.py`, against the frontier named in the
  row; as good means within one point."""


def render_study(found: Found) -> str:
    """One data set's section."""
    study = found.study
    numbers = _Numbers(study.folder)
    parts = [f"## {study.title}"]
    if study.text:
        parts.append(study.text)
    files = "; ".join(f"{name} `{digest[:16]}`" for name, digest in found.hashes.items())
    parts.append(f"Data: {found.summary}. sha256, first 16 digits: {files}.")
    if study.singles:
        parts.append(_singles(study, found.singles, numbers))
    if study.passes is not None:
        parts.append(_passes(study.passes, found, numbers))
    for table, results in zip(study.tables, found.tables, strict=True):
        parts.append(_table(table, results, numbers))
    parts.append(numbers.render())
    return "\n\n".join(parts)


class _Numbers:
    """Row numbers of a section, and the commands behind them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.commands: list[str] = []

    def take(self, command: str) -> str:
        self.commands.append(command)
        return str(len(self.commands))

    def render(self) -> str:
        lines = "\n".join(f"{i}. `{command}`" for i, command in enumerate(self.commands, 1))
        return f"<details><summary>Commands</summary>\n\n{lines}\n\n</details>"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _singles(study: Study, results: Sequence[tuple[Replay, Replay]], numbers: _Numbers) -> str:
    balanced = any(single.balanced is not None for single in study.singles)
    head = ["#", "model", "n", "accuracy, complete", "n, all", "accuracy, all", "README", "agrees"]
    head += ["balanced", "README, balanced"] if balanced else []
    rows = []
    for single, (complete, whole) in zip(study.singles, results, strict=True):
        accuracy, everywhere = complete.figures[single.key], whole.figures["accuracy"]
        row = [
            numbers.take(command_of(study.folder, single.settings)),
            single.name,
            f"{complete.figures['n']:,}",
            _share(accuracy),
            f"{whole.figures['n']:,}",
            _share(everywhere),
            _share(single.published),
            _agrees(single, accuracy, everywhere),
        ]
        if balanced:
            row += [_share(complete.figures["balanced_accuracy"]), _share(single.balanced)]
        rows.append(row)
    return (
        "### Single models, one pass\n\n"
        "`--sample 0 --complete`, and on all cases with a missing answer counted as wrong (the "
        "command without `--complete`), beside the figure of the data set's README.\n\n"
        + grid(head, rows)
    )


def _agrees(single: Single, complete: float, whole: float) -> str:
    if single.published is None:
        return "–"
    if abs(complete - single.published) <= _THIRD_DIGIT:
        return "yes"
    if abs(whole - single.published) <= _THIRD_DIGIT:
        return "yes, on all cases"
    return f"no ({100 * (complete - single.published):+.1f} points)"


def _passes(passes: Passes, found: Found, numbers: _Numbers) -> str:
    rows = []
    for (model, k, settings), result in zip(passes.rows(), found.passes, strict=True):
        cases, split, strict = found.first[model, k]
        said = passes.published[model][k]
        agrees = abs(split - said[0]) <= _THIRD_DIGIT and abs(strict - said[1]) <= _THIRD_DIGIT
        rows.append(
            [
                numbers.take(command_of(found.study.folder, settings)),
                model,
                str(k),
                f"{cases:,}",
                f"{split:.3f} / {strict:.3f}",
                f"{said[0]:.3f} / {said[1]:.3f}",
                "yes" if agrees else "no",
                f"{result.figures['n']:,}",
                _interval(result),
                _share(result.figures["accuracy_strict"]),
            ]
        )
    head = ["#", "model", "k", "n", "first k passes", "README", "agrees"]
    head += ["n, replay", "replay", "replay, strict"]
    return (
        "### Mean score of k passes\n\n"
        "Accuracy with ties shared / with a single right winner only. The README takes the first k "
        "passes on the cases that every model answered in full; so does the column beside it. The "
        "replay (the command) takes k passes in resampled orders, on the cases that this model and "
        f"{passes.frontier} answered in full.\n\n" + grid(head, rows)
    )


def _table(table: Table, results: Sequence[Replay], numbers: _Numbers) -> str:
    if all("acting" in result.figures for result in results):
        return _acting_table(table, results, numbers)
    balanced = any(result.figures["balanced_accuracy"] is not None for result in results)
    paired = any("against" in result.figures for result in results)
    head = ["#", "strategy", "panel", "frontier", "n", "accuracy (95 %)"]
    head += ["balanced"] if balanced else []
    head += ["frontier's", "difference (95 %)", "best member", "cost ratio", "calls", "ties"]
    head += ["beside it: difference to the frontier, cost ratio", "in pairs (95 %)"] * paired
    head += ["verdict"] if table.ruled else []
    rows = []
    for row, result in zip(table.rows, results, strict=True):
        figures, settings = result.figures, row.settings
        cells = [
            numbers.take(command_of(numbers.folder, settings)),
            row.label,
            _panel(settings.panel, settings.seats),
            settings.frontier,
            f"{figures['n']:,}",
            _interval(result),
        ]
        cells += [_share(figures["balanced_accuracy"])] if balanced else []
        low, high = figures["difference_ci95"]
        cells += [
            _share(figures["frontier_accuracy"]),
            f"{100 * figures['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
            _share(figures["controls"]["best_single"]["accuracy"]),
            _plain(figures["cost_ratio"], 2),
            _plain(figures["calls_per_case"], 1),
            _share(figures["tie_rate"]),
        ]
        if paired:
            other = figures["against"]
            cells += [
                f"{100 * other['difference_to_frontier']:+.1f} at {_plain(other['cost_ratio'], 2)}",
                _points(other),
            ]
        cells += [result.verdict.sentence] if table.ruled else []
        rows.append(cells)
    text = f"{table.text}\n\n" if table.text else ""
    return f"### {table.title}\n\n{text}{grid(head, rows)}"


def _points(found: Mapping[str, Any]) -> str:
    low, high = found["difference_ci95"]
    return f"{100 * found['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _acting_table(table: Table, results: Sequence[Replay], numbers: _Numbers) -> str:
    """What acting by a rule did."""
    directed = any("false_approve_rate" in result.figures["acting"] for result in results)
    sets = any("set_coverage" in result.figures["acting"] for result in results)
    head = ["#", "strategy", "rule", "n", "accuracy", "acted", "wrong of those (95 %)"]
    head += ["wrongly approved", "wrongly rejected"] * directed
    head += ["sets hold the truth (95 %)"] * sets
    head += ["loss (95 %)", "majority, always", "frontier, always", "worth"]
    rows = []
    for row, result in zip(table.rows, results, strict=True):
        figures = result.figures
        found = figures["acting"]
        flags = row.settings.acting.flags() if row.settings.acting is not None else []
        cells = [
            numbers.take(command_of(numbers.folder, row.settings)),
            row.label,
            " ".join(flags).replace("--", ""),
            f"{figures['n']:,}",
            _share(figures["accuracy"]),
            _share(found["coverage"]),
            _spanned(found, "selective_risk"),
        ]
        if directed:
            cells += [_share(found["false_approve_rate"]), _share(found["false_reject_rate"])]
        cells += [_spanned(found, "set_coverage")] if sets else []
        cells += [
            _spanned(found, "loss_per_case"),
            _share(found["majority"]["loss_per_case"]),
            _share(found["frontier"]["loss_per_case"]),
            _share(found["review_break_even"]),
        ]
        rows.append(cells)
    text = f"{table.text}\n\n" if table.text else ""
    return f"### {table.title}\n\n{text}{grid(head, rows)}"


def _spanned(found: Mapping[str, Any], key: str) -> str:
    value, span = found.get(key), found.get(f"{key}_ci95")
    if value is None or span is None:
        return "–"
    return f"{value:.3f} ({span[0]:.3f} to {span[1]:.3f})"


def _panel(names: Sequence[str], seats: int | None) -> str:
    # A crowd of dozens is named in full by its command.
    said = ", ".join(names) if len(names) <= 6 else f"{len(names)} models"
    return said if seats is None else f"{said}; {seats} seats"


def _interval(result: Replay) -> str:
    low, high = result.figures["ci95"]
    return f"{result.figures['accuracy']:.3f} ({low:.3f} to {high:.3f})"


def _share(value: float | None) -> str:
    return _plain(value, 3)


def _plain(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
