"""From TOML to a table that can be used, or one clear line why not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from consensus.errors import PolicyError
from consensus.policy.findings import Finding, from_validation
from consensus.policy.sources import read_sources
from consensus.policy.table import PolicyTable

if TYPE_CHECKING:
    from consensus.policy.check import Prices, Prompts

__all__ = [
    "PROJECT_FOLDER",
    "find_policy",
    "find_prompts",
    "load_policy",
    "parse_policy",
    "validate_prices",
]

PROJECT_FOLDER = "strategies"


def find_policy(source: str | Path | None = None) -> Path:
    """The folder or file of a policy: the one named, the project's, or the shipped defaults.

    The project's is ``strategies/`` of the working directory, if it holds any ``*.toml``.
    """
    if source is not None:
        return Path(source).expanduser()
    project = Path(PROJECT_FOLDER)
    if project.is_dir() and any(project.glob("*.toml")):
        return project
    from consensus.resources import packaged

    return packaged("strategies")


def find_prompts(policy: Path | None = None) -> Path | None:
    """The project's own ``prompts/``: beside the policy, else here; None for the shipped ones."""
    for folder in ([policy.parent] if policy is not None else []) + [Path()]:
        if any((folder / "prompts" / part).is_dir() for part in ("framings", "templates")):
            return folder / "prompts"
    return None


def parse_policy(path: Path) -> tuple[PolicyTable | None, list[Finding]]:
    """Read a folder or a file; the table, or what is wrong with its shape.

    Raises:
        PolicyError: if it cannot be read or is not TOML, or a name is given twice.
    """
    sources = read_sources(path)
    try:
        table = PolicyTable.model_validate(sources.data)
    except ValidationError as error:
        label = sources.files[0] if len(sources.files) == 1 else sources.label
        return None, from_validation(error, sources.data, sources.places, label)
    return table.located(sources.places, sources.label), []


def load_policy(
    source: str | Path | PolicyTable | None = None,
    *,
    strict: bool = True,
    prices: Prices | None = None,
    prompts: Prompts | None = None,
) -> PolicyTable:
    """The policy table of a folder (every ``*.toml``, merged), a file, or the project.

    Args:
        source: a folder, a file, a table made in Python, or None: ``strategies/`` of the working
            directory, else the shipped defaults.
        strict: refuse unknown names, models without a price, and contradictions too. Without it,
            only what is not TOML of the right shape is refused.
        prices: where prices are looked up; the price map under the table's own by default.
        prompts: the known framings; framings are not looked up without it.

    Raises:
        PolicyError: one line with ``file:line``, the key and the fix; also a ``PriceError`` where
            it is a price that is missing.
    """
    if isinstance(source, PolicyTable):
        table = source
    else:
        parsed, findings = parse_policy(find_policy(source))
        if parsed is None:
            raise _first(findings)
        table = parsed
    if strict:
        from consensus.policy.check import LOAD_CODES, check

        refused = [
            finding
            for finding in check(table, prices=prices, prompts=prompts)
            if finding.level == "error" and finding.code in LOAD_CODES
        ]
        if refused:
            raise _first(refused)
    return table


def validate_prices(table: PolicyTable, book: Prices) -> None:
    """Refuse a table that can reach a model without a price.

    Raises:
        PolicyError: (also a ``PriceError``) naming where the model stands.
    """
    from consensus.policy.check import check_prices

    findings = [f for f in check_prices(table, book) if f.level == "error"]
    if findings:
        raise _first(findings)


def _first(findings: Sequence[Finding]) -> PolicyError:
    # a key that is missing is often one that was misspelt: tell the misspelling first
    ordered = sorted(findings, key=lambda f: (f.message == "is missing", f.file or "", f.line or 0))
    return ordered[0].as_error(more=len(ordered) - 1)
