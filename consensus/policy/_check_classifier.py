"""A classifier that cannot be asked, and rules on what it never says."""

from __future__ import annotations

from consensus.errors import PolicyError
from consensus.policy._checking import Findings, layers
from consensus.policy._lines import KeyPath
from consensus.policy.classify.asking import asked_models
from consensus.policy.classify.deciding import AUTO
from consensus.policy.classify.embedding import is_installed
from consensus.policy.classify.linear import classifier_of
from consensus.policy.findings import suggest
from consensus.policy.rows import When
from consensus.policy.table import PolicyTable

__all__ = ["check_classifier", "classifier_models"]

MAX_NAMED = 8


def check_classifier(found: Findings) -> None:
    """The file can be read, every category is one of its classes, every class has a use."""
    table = found.table
    classes = _classes(found)
    asked = set()
    for layer in layers(table):
        if not isinstance(layer.fields, When) or layer.fields.category is None:
            continue
        category, path = layer.fields.category, (*layer.path, "category")
        asked.add(category)
        if table.classifier is None:
            found.add(
                "error",
                "classifier",
                path,
                "asks for a category, and the policy has no classifier",
                'add [classifier] with kind = "tfidf" and file = …',
            )
        elif classes is not None and category not in classes:
            fix = suggest(category, list(classes))
            found.add("error", "unknown-name", path, f'"{category}" is no class', fix)
    if table.classifier is None or classes is None:
        return
    if AUTO in table.tasks:
        found.add(
            "warning",
            "classifier",
            ("tasks", AUTO),
            f'has the name "{AUTO}", so no task gets its type from the classifier',
            "rename the row",
        )
    idle = [name for name in classes if name not in table.tasks and name not in asked]
    if idle:
        more = f" … ({len(idle)} in all)" if len(idle) > MAX_NAMED else ""
        found.add(
            "warning",
            "classifier",
            ("classifier",),
            f"names classes that are neither a row nor the category of a rule: "
            f"{', '.join(idle[:MAX_NAMED])}{more}",
            "add the rows, or train it on the types that have one",
        )


def classifier_models(table: PolicyTable) -> dict[str, KeyPath]:
    """The model that the classifier calls, and where the policy says so; none if it calls none."""
    if table.classifier is None:
        return {}
    try:
        key = "model" if table.classifier.model is not None else "file"
        return dict.fromkeys(asked_models(table), ("classifier", key))
    except PolicyError:
        return {}  # said by check_classifier


def _classes(found: Findings) -> tuple[str, ...] | None:
    declared = found.table.classifier
    if declared is None:
        return None
    if declared.classes is not None:
        return tuple(declared.classes)
    try:
        made = classifier_of(found.table)
    except PolicyError as error:
        found.add("error", "classifier", ("classifier", "file"), error.message, error.fix)
        return None
    if made is None:
        return None
    embedder = made.data.embedder
    if embedder is not None and made.model is None and not is_installed(embedder):
        found.add(
            "error",
            "classifier",
            ("classifier", "file"),
            f'was trained on vectors of "{embedder}", which is not installed',
            "install it, or train it on a model's: --embedder local/all-minilm-l6-v2",
        )
    if declared.threshold is None and made.data.threshold > 1:
        found.add(
            "warning",
            "classifier",
            ("classifier", "file"),
            f"never names a class: its {made.data.trained.cases} cases show no threshold at which "
            f"{made.data.trained.target:.0%} would be right",
            "train it on more cases, or with a lower --target",
        )
    return made.classes
