"""Words, vectors and models side by side, and as lines of a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from consensus.cli._console import note
from consensus.cli.policy._classifying import ask_model, embed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from consensus.policy.classify.comparing import Rival, Row
    from consensus.policy.classify.training import HeldOut, Labelled
    from consensus.tasks import Task

__all__ = ["side_by_side", "words_of_rows"]

PICO_PER_USD = 1e12


def side_by_side(
    cases: Labelled,
    tasks: Sequence[Task],
    embedders: Sequence[str],
    models: Sequence[str],
    *,
    each: int | None,
    folds: int,
    policy: Path | None,
    max_usd: float | None,
) -> list[list[Row]]:
    """One table over all cases, and one over those that the models were asked about."""
    from consensus.policy.classify.comparing import compare
    from consensus.policy.classify.training import held_out

    rivals = [_words(cases, folds)]
    for name in embedders:
        note(f"{name}: {len(cases.texts)} vectors")
        embedded = embed(name, cases.texts, policy, max_usd)
        held = held_out(cases, embedded=embedded, folds=folds)
        paid = embedded.cost_pico / PICO_PER_USD / len(cases.texts)
        rivals.append(
            _of(name, held, 1000 * embedded.cpu_s, 1000 * median(embedded.seconds), 1000 * paid)
        )
    tables = [compare(rivals)]
    if models:
        chosen = _some(cases.labels, each)
        asked = [_asked(model, cases, tasks, chosen, policy, max_usd) for model in models]
        tables.append(compare([*(_at(rival, chosen) for rival in rivals), *asked]))
    return tables


def words_of_rows(tables: Sequence[Sequence[Row]], classes: int) -> list[str]:
    """Each table in Markdown, under a line that says what it is about."""
    from consensus.policy.classify.comparing import COVERAGES

    lines: list[str] = []
    heads = " | ".join(f"surest {coverage:.0%}" for coverage in COVERAGES[1:])
    for rows in tables:
        lines += [
            *([""] if lines else []),
            f"{rows[0].n} held-out cases of {classes} classes; paired with {rows[0].rival.name}",
            "",
            f"| classifier | right (95 %) | against words | {heads} | CPU ms | ms | $ per 1,000 |",
            "|---|---|---|" + "---:|" * (len(COVERAGES) - 1 + 3),
        ]
        lines += [_line(row, first=row is rows[0]) for row in rows]
    return lines


def _line(row: Row, *, first: bool) -> str:
    paired = "" if first else f"+{row.gained} −{row.lost}, p = {row.p_value:.2g}"
    curve = row.curve[1:] if row.curve is not None else ("",) * 4
    shares = " | ".join(f"{share:.1%}" if isinstance(share, float) else "–" for share in curve)
    rival = row.rival
    right = f"{row.accuracy:.1%} ({row.interval.low:.1%} to {row.interval.high:.1%})"
    took = f"{rival.cpu_ms:.1f} | {rival.latency_ms:.1f} | {rival.usd_per_1000:.4f}"
    return f"| {rival.name} | {right} | {paired} | {shares} | {took} |"


def _words(cases: Labelled, folds: int) -> Rival:
    import time

    from consensus.policy.classify.training import held_out, train

    made = train(cases, folds=folds)
    began = time.process_time()
    for text in cases.texts:
        made.probabilities(text)
    cpu = 1000 * (time.process_time() - began) / len(cases.texts)
    return _of("words (TF-IDF)", held_out(cases, folds=folds), cpu, made.data.trained.latency_ms[0])


def _of(
    name: str, held: HeldOut, cpu_ms: float, latency_ms: float, usd_per_1000: float = 0.0
) -> Rival:
    from consensus.policy.classify.comparing import Rival

    return Rival(name, held.hits, held.leaders(), cpu_ms, latency_ms, usd_per_1000)


def _asked(
    model: str,
    cases: Labelled,
    tasks: Sequence[Task],
    chosen: npt.NDArray[np.int64],
    policy: Path | None,
    max_usd: float | None,
) -> Rival:
    """A model that is asked for the class, without ever having seen a case."""
    import numpy as np

    from consensus.policy.classify.comparing import Rival

    classes = {name: name.replace("_", " ") for name in sorted(set(cases.labels))}
    note(f"{model}: {len(chosen)} questions")
    said = ask_model(model, classes, [tasks[place] for place in chosen], policy, max_usd)
    hits = [one.label == cases.labels[place] for one, place in zip(said, chosen, strict=True)]
    sure = [one.probability for one in said]
    known = [0.0 if one is None else one for one in sure]
    failed = sum(one.label is None for one in said)
    if failed:
        note(f"{model}: {failed} questions without a class; they count as wrong")
    return Rival(
        f"{model}, asked",
        np.array(hits),
        np.array(known) if any(one is not None for one in sure) else None,
        1000 * sum(one.cpu_s for one in said) / len(said),
        1000 * median(one.seconds for one in said),
        1000 * sum(one.cost_pico for one in said) / PICO_PER_USD / len(said),
    )


def _some(labels: Sequence[str], each: int | None) -> npt.NDArray[np.int64]:
    """Places of the first ``each`` cases of every class; of all where it is None."""
    import numpy as np

    seen: dict[str, int] = defaultdict(int)
    found = []
    for place, label in enumerate(labels):
        seen[label] += 1
        if each is None or seen[label] <= each:
            found.append(place)
    return np.array(found, dtype=np.int64)


def _at(rival: Rival, chosen: npt.NDArray[np.int64]) -> Rival:
    from dataclasses import replace

    leaders = None if rival.leaders is None else rival.leaders[chosen]
    return replace(rival, hits=rival.hits[chosen], leaders=leaders)
