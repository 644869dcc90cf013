"""Statistics: intervals, paired tests, agreement, dependence, selective risk, routing figures.

Pure functions, arrays in, arrays or small named tuples out. scipy is imported where it is used.
"""

from consensus.statistics.agreement import (
    cohen_kappa,
    confusion,
    krippendorff_alpha,
    overlap_confusion,
)
from consensus.statistics.dependence import (
    EffectiveVotes,
    effective_votes,
    error_correlation,
    panel_dependence,
    within_correlation,
)
from consensus.statistics.intervals import (
    Interval,
    beta_lcb,
    beta_ucb,
    cases_for_floor,
    clopper_pearson,
    mean_interval,
    wilson,
    z_score,
)
from consensus.statistics.paired import (
    BootstrapResult,
    McNemar,
    Parity,
    bootstrap_ratio,
    cases_for_parity,
    mcnemar,
    paired_bootstrap,
    parity,
)
from consensus.statistics.routing import (
    Hull,
    Shuffled,
    aiq,
    apgr,
    convex_hull,
    cost_saved_at_parity,
    cpt,
    hull_quality,
    mix_at_cost,
    pareto,
)
from consensus.statistics.selective import (
    RiskCoverage,
    aurc,
    coverage_at_risk,
    excess_aurc,
    risk_coverage,
)

__all__ = [
    "BootstrapResult",
    "EffectiveVotes",
    "Hull",
    "Interval",
    "McNemar",
    "Parity",
    "RiskCoverage",
    "Shuffled",
    "aiq",
    "apgr",
    "aurc",
    "beta_lcb",
    "beta_ucb",
    "bootstrap_ratio",
    "cases_for_floor",
    "cases_for_parity",
    "clopper_pearson",
    "cohen_kappa",
    "confusion",
    "convex_hull",
    "cost_saved_at_parity",
    "coverage_at_risk",
    "cpt",
    "effective_votes",
    "error_correlation",
    "excess_aurc",
    "hull_quality",
    "krippendorff_alpha",
    "mcnemar",
    "mean_interval",
    "mix_at_cost",
    "overlap_confusion",
    "paired_bootstrap",
    "panel_dependence",
    "pareto",
    "parity",
    "risk_coverage",
    "wilson",
    "within_correlation",
    "z_score",
]
