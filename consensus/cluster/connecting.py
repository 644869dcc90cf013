"""Ray, as it is there: up already, at ``RAY_ADDRESS``, or started on this machine for one run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from consensus.errors import DataError, MissingExtraError
from consensus.ledger.store import Ledger

__all__ = ["check_place", "connected", "ray_of", "workers_there"]

STARTS = 4
"""How often Ray is started before it is given up: it waits no more than 30 s for itself."""


def ray_of() -> Any:
    """The package ``ray``.

    Raises:
        MissingExtraError: it is not installed.
    """
    # Nothing is reported to anybody, unless the user has turned it on.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Future behaviour, and without its warning: actors that reserve no accelerator see them all.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtraError(
            "--engine ray needs Ray", fix='pip install "consensus-engine[ray]"'
        ) from None
    return ray


@contextmanager
def connected(workers: int | None = None) -> Iterator[int]:
    """Be connected to Ray; how many workers there can be.

    A Ray that this process has begun already is used and left as it is. ``RAY_ADDRESS`` names a
    cluster. Otherwise one is started here and ended with the block: its processes have this
    process's environment, and so its keys; whoever connects needs Ray's own token.

    Args:
        workers: how many are wanted; None: one for each CPU.

    Raises:
        DataError: the cluster cannot be reached, or has fewer CPUs than workers are wanted.
        MissingExtraError: Ray is not installed.
    """
    ray = ray_of()
    if ray.is_initialized():
        yield workers_there(workers)
        return
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if not address:
        options |= {
            "address": "local",
            "num_cpus": workers or os.cpu_count() or 1,
            "num_gpus": 0,
            "include_dashboard": False,
        }
    _begin(ray, options, where=f"RAY_ADDRESS={address}" if address else "ray")
    try:
        yield workers_there(workers)
    finally:
        ray.shutdown()


def _begin(ray: Any, options: dict[str, Any], *, where: str) -> None:
    """``ray.init``; again where a busy machine took longer than Ray waits for its own start."""
    for left in range(STARTS - 1, -1, -1):
        try:
            ray.init(**options)
        except Exception as error:  # noqa: BLE001 - Ray raises bare ones
            ray.shutdown()
            lines = str(error).strip().splitlines() or [type(error).__name__]
            if left and "timed out during startup" in lines[0]:
                continue
            raise DataError(f"Ray could not be started: {lines[0]}", where=where) from None
        return


def workers_there(workers: int | None) -> int:
    """How many workers are made, of those wanted.

    Raises:
        DataError: the cluster has fewer CPUs than that.
    """
    cpus = int(ray_of().cluster_resources().get("CPU", 0))
    if cpus < (workers or 1):
        raise DataError(
            f"the Ray cluster has {cpus} CPUs, and {workers or 1} workers need one each",
            where="--workers",
        )
    return workers or cpus


def check_place(ledger: Ledger, nodes: int) -> None:
    """See that the workers' records can come into the ledger.

    Raises:
        DataError: the ledger is a file, or in memory, and the workers run on several machines.
    """
    if ledger.where.startswith("postgresql"):
        return
    if ledger.path is None:
        raise DataError("workers cannot share a ledger in memory", fix="name a file")
    if nodes > 1:
        raise DataError(
            f"the Ray cluster has {nodes} machines, and the ledger is a file on one of them",
            where=str(ledger.path),
            fix="keep it on PostgreSQL: CONSENSUS_LEDGER=postgresql://HOST/DATABASE",
        )
