"""What is measured without a recorded data set: the live run of the shipped suite, simulations."""

from __future__ import annotations

from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.studies.declared import (
    SHIPPED,
    Study,
)

__all__ = ["LIVE", "SIMULATION"]


def _simulations(_: RecordedRun | None) -> str:
    from consensus.benchmark.simulation_study import render_simulations

    return render_simulations()


SIMULATION = Study("simulation", "", "Simulations", writer=_simulations)


def _live(run: RecordedRun | None) -> str:
    from consensus.benchmark.live_study import render_live

    if run is None:
        raise ValueError("the live run's section reads its answers")
    return render_live(run)


LIVE = Study("live", f"{SHIPPED}recorded/judgement-local", "The live run", writer=_live)
