"""``consensus policy classify``: train and test the content classifier of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.policy._classifying import EMBEDDER, embed
from consensus.cli.policy._shared import Json, PolicyOption

if TYPE_CHECKING:
    from consensus.policy.classify.measuring import Tested
    from consensus.policy.classify.training import Labelled
    from consensus.statistics.intervals import Interval
    from consensus.tasks import Task

__all__ = ["app"]

app = typer.Typer(
    name="classify",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The content classifier: what a task is about, by its words.",
)

By = Literal["type", "tag", "complexity"]
Source = Annotated[Path, typer.Argument(help="Folder of a suite, or an audit.toml with examples.")]
ByOption = Annotated[By, typer.Option(help="What the classes are.")]
ClassOption = Annotated[
    list[str] | None,
    typer.Option("--class", help="Only these classes; repeat it. Needed with --by tag."),
]

EmbedderOption = Annotated[
    str,
    typer.Option(help="embedding: a model that makes vectors, or an installed PROVIDER:WHAT."),
]
MaxUsd = Annotated[
    float | None,
    typer.Option(min=0, help="Most dollars that models may be paid; none is asked beyond it."),
]

EXAMPLE = """
  consensus policy classify train suite/ --out strategies/classifier.json

  [bold]on a model's vectors[/] (on this machine: consensus models pull all-minilm-l6-v2)

  consensus policy classify train suite/ --kind embedding --out strategies/classifier.json

  consensus policy classify train suite/ --kind embedding
  --embedder openai/text-embedding-3-small --out strategies/classifier.json

  [bold]then in the policy[/]

  \\[classifier]
  kind = "tfidf"                  or "embedding"
  file = "classifier.json"

  A task of type "auto" gets the type that it names, and \\[\\[tasks.TYPE.when]] rules may ask for
  category = "NAME". Where it is not sure enough, the default row holds.
"""


@app.command("train")
def train(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the classifier (JSON).")],
    by: ByOption = "type",
    only: ClassOption = None,
    kind: Annotated[
        Literal["tfidf", "embedding"], typer.Option(help="What the regression sees of a text.")
    ] = "tfidf",
    embedder: EmbedderOption = EMBEDDER,
    target: Annotated[
        float, typer.Option(min=0.01, max=0.9999, help="Accuracy that named classes shall have.")
    ] = 0.9,
    delta: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="Chance that they have not.")
    ] = 0.1,
    folds: Annotated[int, typer.Option(min=2, help="Parts that are held out in turn.")] = 5,
    saving: Annotated[
        float | None,
        typer.Option(help="Dollars that routing saves on a query, for the break-even volume."),
    ] = None,
    upkeep: Annotated[
        float, typer.Option(help="Dollars a month that keeping the classifier costs.")
    ] = 0.0,
    policy: PolicyOption = None,
    max_usd: MaxUsd = None,
    as_json: Json = False,
) -> None:
    """Train a classifier; accuracy, coverage and threshold are measured on held-out folds."""
    from consensus.errors import DataError
    from consensus.policy.classify.training import train as fit

    cases = _labelled(source, by, only)
    embeds = kind == "embedding"
    made = fit(
        cases,
        kind=kind,
        embedder=embedder if embeds else None,
        embedded=embed(embedder, cases.texts, policy, max_usd) if embeds else None,
        target=target,
        delta=delta,
        folds=folds,
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(made.to_bytes())
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(out)) from None
    facts = made.data.trained
    volume = _break_even(saving, facts.usd_per_query, upkeep)
    if as_json:
        print_json(
            {
                "file": str(out),
                "sha256": made.sha256,
                "kind": kind,
                "classes": list(made.classes),
                "threshold": made.data.threshold,
                "may_name_a_class": made.data.threshold <= 1,
                "trained": facts.model_dump(mode="json"),
                "break_even_queries_a_month": volume,
            }
        )
        return
    for line in _trained_lines(made.data.threshold, facts):
        stdout().print(line, markup=False)
    if saving is not None:
        said = "never" if volume is None else f"from {volume:,.0f} queries a month"
        stdout().print(
            f"pays {said}, at ${saving:g} saved a query and ${upkeep:g} upkeep a month",
            markup=False,
        )
    note(f"written to {out}")


train.__doc__ = f"{train.__doc__}\n\n[bold]For example[/]\n{EXAMPLE}"


@app.command("test")
def measured(
    file: Annotated[Path, typer.Argument(help="Classifier, as train wrote it.")],
    source: Source,
    by: ByOption = "type",
    only: ClassOption = None,
    policy: PolicyOption = None,
    max_usd: MaxUsd = None,
    as_json: Json = False,
) -> None:
    """Measure a classifier on cases that it was not trained on.

    [bold]For example[/]

      consensus policy classify test strategies/classifier.json new-cases/
    """
    from consensus.policy.classify.linear import load_classifier
    from consensus.policy.classify.measuring import measure

    made = load_classifier(file)
    cases = _labelled(source, by, only)
    vectors = None if made.model is None else embed(made.model, cases.texts, policy, max_usd)
    tested = measure(made, cases, vectors)
    if as_json:
        print_json(tested.to_json())
        return
    for line in _tested_lines(tested):
        stdout().print(line, markup=False)
    if tested.seen_before:
        note("warning: it was trained on these very cases, so the figures are too good")


@app.command("compare")
def compared(
    source: Source,
    by: ByOption = "type",
    only: ClassOption = None,
    embedders: Annotated[
        list[str] | None,
        typer.Option("--embedder", help="Whose vectors; repeat it.", show_default=EMBEDDER),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="Also ask this model for the class of every case; repeat it."),
    ] = None,
    each: Annotated[
        int | None, typer.Option(min=1, help="Ask models about so many cases of each class only.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts that are held out in turn.")] = 5,
    policy: PolicyOption = None,
    max_usd: MaxUsd = None,
    as_json: Json = False,
) -> None:
    """Compare kinds of classifiers on the same held-out cases, before one is chosen.

    Words (TF-IDF) first, then vectors, then models that are simply asked. Paired tests are against
    the words. Nothing is written.

    [bold]For example[/]

      consensus policy classify compare suite/

      consensus policy classify compare suite/ --embedder openai/text-embedding-3-small
      --model openai/gpt-5.4-nano --max-usd 1
    """
    from consensus.cli.policy._comparing import side_by_side, words_of_rows

    cases, tasks = _labelled(source, by, only), _tasks(source, by, only) if models else []
    tables = side_by_side(
        cases,
        tasks,
        tuple(embedders or (EMBEDDER,)),
        tuple(models or ()),
        each=each,
        folds=folds,
        policy=policy,
        max_usd=max_usd,
    )
    if as_json:
        print_json([[row.to_json() for row in rows] for rows in tables])
        return
    for line in words_of_rows(tables, len(set(cases.labels))):
        stdout().print(line, markup=False, soft_wrap=True)


def _tasks(source: Path, by: By, only: list[str] | None) -> list[Task]:
    """The tasks behind :func:`_labelled`'s texts, in the same order."""
    from consensus.benchmark.suites import load_suite
    from consensus.errors import DataError

    if source.suffix == ".toml":
        raise DataError("models are asked about a suite's cases", where=str(source))
    chosen = []
    for case in load_suite(source).cases:
        label = _label_of(case, by, only)
        if label is not None and (not only or label in only):
            chosen.append(case.task)
    return chosen


def _label_of(case: Any, by: By, only: list[str] | None) -> str | None:
    if by != "tag":
        return str(case.type if by == "type" else case.complexity)
    # a case with two of the tags would teach the same text twice, as two things
    tags = [tag for tag in case.tags if tag in (only or ())]
    return tags[0] if len(tags) == 1 else None


def _labelled(source: Path, by: By, only: list[str] | None) -> Labelled:
    from consensus.errors import DataError
    from consensus.policy.classify.training import Labelled

    pairs, digest = _audited(source) if source.suffix == ".toml" else _cases(source, by, only)
    chosen = [(text, label) for text, label in pairs if not only or label in only]
    if not chosen:
        raise DataError(
            "holds no labelled text of these classes",
            where=str(source),
            fix="give --class NAME, twice or more" if by == "tag" else None,
        )
    texts, labels = zip(*chosen, strict=True)
    return Labelled(texts, labels, str(source), digest, by)


def _cases(source: Path, by: By, only: list[str] | None) -> tuple[list[tuple[str, str]], str]:
    from consensus.benchmark.suites import load_suite
    from consensus.policy.classify.text import text_of

    suite = load_suite(source)
    found = []
    for case in suite.cases:
        label = _label_of(case, by, only)
        if label is not None:
            found.append((text_of(case.task), label))
    return found, suite.sha256


def _audited(source: Path) -> tuple[list[tuple[str, str]], str]:
    import hashlib

    from consensus.policy.audit.model import load_audit

    audit = load_audit(source)
    found = [(text, name) for name, task in audit.tasks.items() for text in task.examples]
    return found, hashlib.sha256(source.read_bytes()).hexdigest()


def _break_even(saving: float | None, per_query: float, upkeep: float) -> float | None:
    from consensus.benchmark.projection.breakeven import Classifier, classifier_break_even

    if saving is None:
        return None
    made = classifier_break_even(saving, 0.0, 1, Classifier(per_query, upkeep))
    return made.volume if made is not None else None


def _trained_lines(threshold: float, facts: Any) -> list[str]:
    low, high = facts.accuracy_low, facts.accuracy_high
    lines = [
        f"{facts.cases} cases, {len(facts.by_class)} classes, {facts.folds} held-out folds",
        (
            f"accuracy {facts.accuracy:.1%} (95 % interval {low:.1%} – {high:.1%}); "
            f"always the commonest class: {facts.majority:.1%}"
        ),
    ]
    if threshold > 1:
        lines.append(
            f"no threshold is shown to reach {facts.target:.0%} (δ = {facts.delta:g}): it names no "
            "class, and the default row holds; add cases or lower --target"
        )
    else:
        lines.append(
            f"threshold {threshold:.3f} for {facts.target:.0%} (δ = {facts.delta:g}); on held-out "
            f"folds {facts.coverage:.1%} got a class"
        )
    if facts.accepted:
        lines.append(
            f"of those {facts.accepted_accuracy:.1%} right "
            f"(95 % interval {facts.accepted_low:.1%} – {facts.accepted_high:.1%})"
        )
    p50, p95 = facts.latency_ms
    lines.append(
        f"a query takes {p50:.2f} ms (p95 {p95:.2f}) here and costs ${facts.usd_per_query:g}"
    )
    weak = [f"{name} {right}/{n}" for name, (right, n) in facts.by_class.items() if right < 0.5 * n]
    if weak:
        lines.append(f"found in less than half of their cases: {', '.join(weak)}")
    return lines


def _tested_lines(tested: Tested) -> list[str]:
    overall, among = tested.accuracy_interval, tested.accepted_interval
    lines = [
        f"{tested.cases} cases: accuracy {tested.accuracy:.1%} {_between(overall)}",
        f"{tested.accepted} got a class ({tested.coverage:.1%})",
    ]
    if tested.accepted_accuracy is not None:
        lines.append(f"of those {tested.accepted_accuracy:.1%} right {_between(among)}")
    if tested.unknown:
        lines.append(f"classes that it does not know: {', '.join(tested.unknown)}")
    return lines


def _between(interval: Interval) -> str:
    return f"(95 % interval {interval.low:.1%} – {interval.high:.1%})"
