"""Hypothesis strategies shared by the tests of this folder."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consensus.aggregation._numerics import FloatArray, IntArray


@st.composite
def vote_arrays(
    draw: st.DrawFn, *, max_seats: int = 9, max_options: int = 5
) -> tuple[IntArray, int]:
    """Votes of one case (seats,), −1 = missing, and the number of options."""
    options = draw(st.integers(2, max_options))
    seats = draw(st.integers(1, max_seats))
    votes = draw(hnp.arrays(np.int64, seats, elements=st.integers(-1, options - 1)))
    return votes, options


@st.composite
def blocked_counts(draw: st.DrawFn, *, max_options: int = 5) -> FloatArray:
    """Counts (B, K) of one case."""
    options = draw(st.integers(2, max_options))
    blocks = draw(st.integers(1, 4))
    counts = draw(hnp.arrays(np.int64, (blocks, options), elements=st.integers(0, 8)))
    return counts.astype(np.float64)


@st.composite
def ballot_distributions(draw: st.DrawFn) -> FloatArray:
    """Distributions (seats, K) of one case, without missing ones."""
    options = draw(st.integers(2, 5))
    seats = draw(st.integers(1, 7))
    raw = draw(
        hnp.arrays(np.float64, (seats, options), elements=st.floats(0.01, 1.0, allow_nan=False))
    )
    return np.asarray(raw / raw.sum(axis=1, keepdims=True), dtype=np.float64)
