"""The study's declared replays: which questions are put to which recorded data set.

Nothing here is a result. ``published`` figures are those of a data set's own README.
"""

from consensus.benchmark.studies import (
    iclr_review,
    medagents,
    mmlu_pro,
    own,
    prd_vicuna80,
    rb2,
)
from consensus.benchmark.studies.declared import Study

__all__ = ["STUDIES"]

STUDIES: tuple[Study, ...] = (
    own.LIVE,
    rb2.STUDY,
    rb2.STOPPING,
    rb2.AUTO,
    medagents.STUDY,
    medagents.AUTO,
    mmlu_pro.STUDY,
    mmlu_pro.AUTO,
    prd_vicuna80.STUDY,
    prd_vicuna80.AUTO,
    iclr_review.STUDY,
    iclr_review.AUTO,
    iclr_review.ACTING,
    rb2.ACTING,
    own.SIMULATION,
)
"""In the order of their sections."""
