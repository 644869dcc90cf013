"""What several processes on one port keep together, checked before the first of them starts."""

from __future__ import annotations

import os
from pathlib import Path

from consensus.engine import Engine
from consensus.errors import DeclarationError
from consensus.models.factory import ProviderSettings, provider_of
from consensus.models.sharing import MACHINE_PROVIDERS, Divided
from consensus.policy.table import PolicyTable
from consensus.server.process import ServeOptions

__all__ = ["check_several"]


def check_several(options: ServeOptions) -> tuple[PolicyTable, list[str]]:
    """The table that all of them will read, and what their user should be told.

    Limits are in the policy's shared store, or are divided among the processes. The ledger is a
    server's, or one file: SQLite serves several processes of a machine, one writing at a time.

    Raises:
        DeclarationError: the policy is not sound; the ledger is in memory; a limit cannot be
            divided.
    """
    engine = Engine(options.policy, ledger=options.ledger)
    table, ledger = engine.table, engine.ledger
    workers, notes = options.workers, []
    if ledger is not None and ledger.path is None and "memory" in ledger.where:
        raise DeclarationError(
            f"{workers} workers cannot keep their decisions in memory together",
            fix="--ledger FILE, or [ledger] url_env with a postgresql:// URL",
        )
    if ledger is not None and ledger.path is not None:
        if _on_network(str(ledger.path.parent)):
            raise DeclarationError(
                f"{ledger.path} lies on a network drive, where SQLite's locks do not hold",
                fix="keep the ledger of several workers on PostgreSQL: [ledger] url_env",
            )
        notes.append(
            f"ledger: {ledger.path} (SQLite: the workers write one at a time; for much traffic "
            "or several machines, PostgreSQL)"
        )
    if table.limits is None:
        settings, divided = table.provider_settings(), Divided(workers)
        named = {provider_of(m) for tier in table.tiers.values() for m in tier} | set(settings)
        for provider in sorted(named - MACHINE_PROVIDERS):
            divided.limits(provider, settings.get(provider) or ProviderSettings())
        if named - MACHINE_PROVIDERS:
            notes.append(
                f"limits: each worker keeps to 1/{workers} of every provider's (a store that they "
                "share gives all of it to whoever needs it: [limits] shared)"
            )
    if "local" in {provider_of(m) for tier in table.tiers.values() for m in tier}:
        notes.append(f"local models: each worker loads its own, {workers} times the memory")
    if options.watch and not options.reload:
        notes.append("--watch with several workers reloads the policy: a demotion reaches all")
    return table, notes


def _on_network(folder: str) -> bool:
    """Whether a folder lies on a file system whose locks another machine must keep."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    mounts = [line.split()[1:3] for line in lines]
    real = os.path.realpath(folder)
    over = [(len(at), kind) for at, kind in mounts if f"{real}/".startswith(at.rstrip("/") + "/")]
    return bool(over) and max(over)[1].startswith(("nfs", "cifs", "smb", "9p", "fuse.sshfs"))
