"""What is said where Prometheus' package is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from consensus.errors import MissingExtraError

__all__ = ["needs_prometheus"]


def needs_prometheus(extra: str = "metrics") -> None:
    """Refuse to go on without the package ``prometheus_client``.

    Args:
        extra: of ours, which brings it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("prometheus_client") is None:
        raise MissingExtraError(
            "Prometheus metrics need the package prometheus-client",
            fix=f'pip install "consensus-engine[{extra}]"',
        )
