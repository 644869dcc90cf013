"""A Ray cluster of two CPUs, for the whole session."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

KEY = "sk-ant-planted-for-workers"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Path]:
    """Ray is up, and its processes have a key in their environment; the folder of its logs."""
    from consensus.cluster.connecting import connected, ray_of

    up = ExitStack()
    # Ray's own warnings, on import and while it starts and ends; a test's are errors as ever.
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("ANTHROPIC_API_KEY", KEY)
        patch.delenv("RAY_ADDRESS", raising=False)
        up.enter_context(connected(2))
    context = ray_of().get_runtime_context()
    yield Path("/tmp/ray") / context.get_session_name()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        up.close()
        del context
        gc.collect()  # file handles and processes that Ray leaves to the collector
