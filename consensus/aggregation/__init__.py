"""How ballots are combined: pure functions, arrays in, arrays out, one module an algorithm family.

Conventions, the same in every module:

- **Leading axes are cases.** ``(..., K)`` means one decision ``(K,)`` or a whole replay
  ``(cases, K)``; the same function serves both.
- **Votes** are int arrays ``(..., seats)`` of option indices 0 … K−1; −1 is a missing or failed
  ballot. **Counts** are floats ``(..., K)``, by block of seats ``(..., B, K)``.
- **Distributions** are floats ``(..., seats, K)``; a row of NaN is a missing ballot. **Scores** per
  candidate are floats ``(..., seats, K)``; NaN is a score not given.
- **Options** that differ by case: a bool mask ``(..., K)``; what it leaves out gets probability 0.
- **Order never decides.** Sums over seats, blocks and options run over sorted values, so that the
  same ballots in any order give the same bits; a tie is values within 1e-9 · max(1, size) of each
  other and is reported as a tie.
- ``ValueError`` is a caller's mistake (shapes, ranges); ``FitError`` means that the records cannot
  carry the model; ``ConvergenceError`` that an iteration did not reach its tolerance.

numpy is imported with this package, scipy only inside the functions that need it, never on the path
of a single decision. What one live decision needs is re-exported here; the rest is in its module:
``calibration``, ``confidence``, ``conformal``, ``dawid_skene``, ``features``, ``independence``,
``judges``, ``kemeny``, ``learned``, ``paired``, ``rankings``, ``score_ballots``, ``scores``,
``stop_replay``.
"""

from consensus.aggregation._numerics import TIE_TOLERANCE, ConvergenceError, FitError
from consensus.aggregation.pools import (
    batch_calibration,
    batch_prior,
    contextual_calibration,
    linear_pool,
    log_pool,
    tempered,
)
from consensus.aggregation.posteriors import (
    COLD_ACCURACY,
    COLD_CORRELATION,
    block_discount,
    block_posterior,
    cold_start_posterior,
    confusion_block_posterior,
    confusion_from_gold,
    independent_posterior,
    nitzan_paroush,
    symmetric_confusion,
    weighted_posterior,
)
from consensus.aggregation.stop_value import (
    approval_losses,
    expected_loss,
    plain_losses,
    threshold_settled,
    value_of_ballots,
    worth_asking,
)
from consensus.aggregation.stopping import (
    TypePrior,
    ahead,
    beta_confidence,
    beta_decided,
    certain,
    fit_type_prior,
    lead_needed,
    odds_decided,
    prior_confidence,
    prior_decided,
    quorum_settled,
    supermajority_settled,
    veto_settled,
    wald_bound,
)
from consensus.aggregation.votes import (
    Plurality,
    agreement,
    half_votes,
    minority_veto,
    plurality,
    quorum_met,
    supermajority,
    tally,
    tally_blocks,
    unanimous,
)

__all__ = [
    "COLD_ACCURACY",
    "COLD_CORRELATION",
    "TIE_TOLERANCE",
    "ConvergenceError",
    "FitError",
    "Plurality",
    "TypePrior",
    "agreement",
    "ahead",
    "approval_losses",
    "batch_calibration",
    "batch_prior",
    "beta_confidence",
    "beta_decided",
    "block_discount",
    "block_posterior",
    "certain",
    "cold_start_posterior",
    "confusion_block_posterior",
    "confusion_from_gold",
    "contextual_calibration",
    "expected_loss",
    "fit_type_prior",
    "half_votes",
    "independent_posterior",
    "lead_needed",
    "linear_pool",
    "log_pool",
    "minority_veto",
    "nitzan_paroush",
    "odds_decided",
    "plain_losses",
    "plurality",
    "prior_confidence",
    "prior_decided",
    "quorum_met",
    "quorum_settled",
    "supermajority",
    "supermajority_settled",
    "symmetric_confusion",
    "tally",
    "tally_blocks",
    "tempered",
    "threshold_settled",
    "unanimous",
    "value_of_ballots",
    "veto_settled",
    "wald_bound",
    "weighted_posterior",
    "worth_asking",
]
