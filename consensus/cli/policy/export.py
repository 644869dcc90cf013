"""``consensus policy export``: the table for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._console import note, print_json
from consensus.cli.policy._shared import Folder, Json

__all__ = ["export"]

EXAMPLE = """
  consensus policy export --litellm --out router.yaml

  litellm --config router.yaml      # callers then say model="refund_approval"
"""


def export(
    path: Folder = None,
    *,
    litellm: Annotated[
        bool, typer.Option("--litellm", help="As a configuration of LiteLLM's router and proxy.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File; else printed.")] = None,
    as_json: Json = False,
) -> None:
    """Write the table as a LiteLLM configuration: groups, fallbacks, limits; keys by name only."""
    from consensus.errors import DataError
    from consensus.policy.litellm_export import export_litellm
    from consensus.policy.load import find_policy, load_policy

    if not litellm:
        raise typer.BadParameter("say which format: --litellm")
    made = export_litellm(load_policy(find_policy(path)))
    if out is not None:
        try:
            out.write_text(made.to_yaml(), encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", where=str(out)) from None
    if as_json:
        print_json({"config": made.config, "left_out": list(made.left_out)})
    elif out is None:
        sys.stdout.write(made.to_yaml())
    note(
        f"{len(made.config['model_list'])} entries; {len(made.left_out)} things a router cannot do "
        f"are {'in comments at the head' if not as_json else 'in left_out'}"
        + (f"; written to {out}" if out is not None else "")
    )


export.__doc__ = f"{export.__doc__}\n\n[bold]For example[/]\n{EXAMPLE}"
