"""Content routing: what a task is about, by its words, with a probability and an abstention."""

from __future__ import annotations

from consensus.policy.classify.asking import asked_models, classify
from consensus.policy.classify.deciding import (
    AUTO,
    Classified,
    class_question,
    needs_class,
    retyped,
)
from consensus.policy.classify.linear import (
    Classifier,
    TrainingFacts,
    classifier_of,
    load_classifier,
)
from consensus.policy.classify.text import MAX_CHARS, text_of, words_of

__all__ = [
    "AUTO",
    "MAX_CHARS",
    "Classified",
    "Classifier",
    "TrainingFacts",
    "asked_models",
    "class_question",
    "classifier_of",
    "classify",
    "load_classifier",
    "needs_class",
    "retyped",
    "text_of",
    "words_of",
]
