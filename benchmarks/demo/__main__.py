"""``make demo``: a dozen tasks on real models on this machine's CPU, without a key.

Each task goes to a panel (one larger small model under several framings and both option orders,
ballots read as distributions) and, beside it, to one plain call of the same model; and to the
cheap tier, one plain call of a smaller model. What is printed is what happened. The dollars are
what the same tokens would have cost at today's prices of two real models; running them here cost
none.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from consensus import Decision, Engine, Usage
from consensus.models.prices import PriceBook
from consensus.orchestrators.concluding import answers_agree
from consensus.statistics.intervals import wilson
from consensus.tasks import Score, Task, parse_task

HERE = Path(__file__).parent
LARGE = "local/qwen2.5-coder-1.5b-instruct"
SMALL = "local/qwen2.5-coder-0.5b-instruct"
PRICED_AS = ("anthropic/claude-haiku-5-5", "anthropic/claude-opus-5-5")


@dataclass
class Tally:
    """What one way of deciding came to."""

    name: str
    right: int = 0
    wrong: int = 0
    none: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    def count(self, verdict: bool | None, usage: Usage, seconds: float) -> None:
        self.right += verdict is True
        self.wrong += verdict is False
        self.none += verdict is None
        self.usage = self.usage + usage
        self.seconds += seconds


def read() -> tuple[list[Task], dict[str, Any]]:
    """The tasks, and their labels by id."""
    lines = (HERE / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    labels = json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
    return [parse_task(json.loads(line)) for line in lines if line.strip()], labels


def judge(task: Task, outcome: Any, label: Any) -> bool | None:
    """Right or wrong by the label; None where there is no outcome."""
    if outcome is None:
        return None
    wanted = tuple(label) if isinstance(label, list) else label
    scale = task.scale if isinstance(task, Score) else None
    return answers_agree(task.kind, outcome, wanted, scale=scale)


def said(outcome: Any, task: Task) -> str:
    """An outcome in a few characters; a ranking by the numbers of its items."""
    if outcome is None:
        return "–"
    if isinstance(outcome, tuple):
        return " > ".join(str(task.options.index(item) + 1) for item in outcome)
    return f"{outcome:g}" if isinstance(outcome, float) else str(outcome)


def mark(verdict: bool | None) -> str:
    return {True: "[green]right[/]", False: "[red]wrong[/]", None: "[yellow]no outcome[/]"}[verdict]


async def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    tasks, labels = read()
    panel, plain, cheap = (
        Tally("panel of the 1.5B"),
        Tally("one call, 1.5B"),
        Tally("one call, 0.5B"),
    )
    table = Table(title="What happened", title_justify="left")
    for name in (
        "task",
        "label",
        "panel says",
        "P",
        "agree",
        "",
        "1.5B alone",
        "",
        "0.5B alone",
        "",
    ):
        table.add_column(name)
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger.db"
        async with (
            Engine(HERE / "policy.toml", ledger=ledger) as engine,
            Engine(HERE / "cheap.toml", ledger=False) as small,
        ):
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=Console(stderr=True)) as bar:
                shown = bar.add_task("deciding", total=len(tasks))
                for task in tasks:
                    bar.update(shown, description=f"deciding {task.id}")
                    decision = await engine.decide(task, frontier=LARGE)
                    lesser = await small.decide(task)
                    row(table, task, labels[str(task.id)], decision, lesser, (panel, plain, cheap))
                    bar.advance(shown)
            replayed = engine.ledger.receipt(str(decision.receipt_id)) if engine.ledger else None
    console.print(table)
    if replayed is not None:
        from consensus.assembly import conclude_receipt
        from consensus.ledger.receipts import replay

        same = replay(replayed, conclude_receipt).identical
        console.print(f"The last receipt replays to the same bytes: {'yes' if same else 'NO'}.\n")
    console.print(totals((panel, plain, cheap), len(tasks)))
    console.print(sentence(panel, plain, cheap, time.perf_counter() - started))
    return 0


def row(
    table: Table,
    task: Task,
    label: Any,
    decision: Decision,
    lesser: Decision,
    tallies: tuple[Tally, Tally, Tally],
) -> None:
    """Judge one task's three answers and print them."""
    panel, plain, cheap = tallies
    verdict = judge(task, decision.outcome, label)
    panel.count(verdict, decision.usage, decision.latency_s)
    beside = decision.frontier
    assert beside is not None
    alone = judge(task, beside.outcome, label)
    plain.count(alone, beside.usage, beside.latency_s)
    least = judge(task, lesser.outcome, label)
    cheap.count(least, lesser.usage, lesser.latency_s)
    wanted = tuple(label) if isinstance(label, list) else label
    table.add_row(
        escape(str(task.id)),
        escape(said(wanted, task)),
        escape(said(decision.outcome, task)) if decision.outcome is not None else decision.action,
        "" if decision.probability is None else f"{decision.probability:.2f}",
        f"{decision.agreement:.0%}",
        mark(verdict),
        escape(said(beside.outcome, task)),
        mark(alone),
        escape(said(lesser.outcome, task)) if lesser.outcome is not None else lesser.action,
        mark(least),
    )


def totals(tallies: tuple[Tally, ...], tasks: int) -> Table:
    book = PriceBook()
    table = Table(title="What it took", title_justify="left")
    table.add_column("")
    for name in ("right", "95 % interval", "wrong", "no outcome", "tokens in", "out", "seconds"):
        table.add_column(name, justify="right")
    for model in PRICED_AS:
        table.add_column(f"as {model.rpartition('/')[2]}", justify="right")
    for tally in tallies:
        low, high = wilson(tally.right, tasks)
        prices = [book.price(m).cost_pico(tally.usage) / 1e12 for m in PRICED_AS]
        table.add_row(
            tally.name,
            f"{tally.right}/{tasks}",
            f"{low:.0%} – {high:.0%}",
            str(tally.wrong),
            str(tally.none),
            f"{tally.usage.total_input:,}",
            f"{tally.usage.output:,}",
            f"{tally.seconds:.0f}",
            *(f"${price:.6f}" for price in prices),
        )
    return table


def sentence(panel: Tally, plain: Tally, cheap: Tally, seconds: float) -> str:
    tallies = (panel, plain, cheap)
    best = max(tallies, key=lambda tally: tally.right)
    counts = "; ".join(f"{t.name}: {t.right} right, {t.wrong} wrong" for t in tallies)
    if panel.right <= plain.right:
        verdict = f"Here the panel did not beat one call of its own model ({best.name} was best)."
    else:
        times = panel.usage.total_input / max(plain.usage.total_input, 1)
        verdict = f"The panel took {times:.1f} times the tokens of one call."
    return (
        f"{counts}. {verdict} A dozen tasks prove nothing, as the intervals say, and small models "
        f"are weak: benchmarks/ is where evidence is made. Decided in {seconds:.0f} s."
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
