"""``consensus init``: a project's own policy, prompts and first cases, from the defaults."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._console import note, print_json
from consensus.errors import DeclarationError
from consensus.resources import SHIPPED, packaged

__all__ = ["init", "starter_files"]

_README = """\
# Benchmarks

The evidence for `strategies/`: cases with known answers, and what runs on them measured.

`refund_approval.jsonl` is a task file, a line each: the type and its row in `strategies/` supply
what a line leaves out. Replace it with cases of your own.

    consensus decide refund_approval --input benchmarks/refund_approval.jsonl --output out.jsonl
"""

_CRITERIA = (
    "Refund if the item is unused and was bought within the last 30 days. "
    "Damage on arrival is always refunded."
)

_CASES = (
    (
        "unused-12-days",
        "Order of 12 days ago: a kettle, still sealed. The customer changed her mind.",
    ),
    ("worn-9-days", "Order of 9 days ago: running shoes, worn on two runs. They feel too narrow."),
    ("unused-41-days", "Order of 41 days ago: a lamp, unopened. The customer was travelling."),
    (
        "broken-on-arrival",
        "Order of 35 days ago: a vase. A photo of the day of delivery shows it broken.",
    ),
)


def starter_files() -> dict[str, str]:
    """Path → content of the files that are written beside the copied defaults."""
    lines = [
        json.dumps({"id": name, "subject": subject, "criteria": _CRITERIA}, ensure_ascii=False)
        for name, subject in _CASES
    ]
    return {
        "benchmarks/README.md": _README,
        "benchmarks/refund_approval.jsonl": "\n".join(lines) + "\n",
    }


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project.")] = Path(),
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that are there already.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write strategies/, prompts/ and benchmarks/ into a project. Existing files are kept."""
    if folder.exists() and not folder.is_dir():
        raise DeclarationError("is not a folder", where=str(folder))
    written: list[str] = []
    kept: list[str] = []
    target = folder
    try:
        for name in SHIPPED:
            source = packaged(name)
            for file in sorted(p for p in source.rglob("*") if p.is_file()):
                relative = Path(name) / file.relative_to(source)
                target = folder / relative
                if _place(target, relative, written, kept, force=force):
                    shutil.copyfile(file, target)
        for path, content in starter_files().items():
            target = folder / path
            if _place(target, Path(path), written, kept, force=force):
                target.write_text(content, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DeclarationError(f"cannot be written: {reason}", where=str(target)) from error
    if as_json:
        print_json({"folder": str(folder), "written": written, "kept": kept})
        return
    for line in written:
        sys.stdout.write(f"wrote {line}\n")
    for line in kept:
        sys.stdout.write(f"kept  {line}\n")
    if kept:
        note("kept what was there already; --force writes over it")
    _say_next(folder)


def _place(
    target: Path, relative: Path, written: list[str], kept: list[str], *, force: bool
) -> bool:
    """Whether a file is to be written; its folder is made."""
    if (target.exists() or target.is_symlink()) and not force:
        kept.append(relative.as_posix())
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    written.append(relative.as_posix())
    return True


def _say_next(folder: Path) -> None:
    here = folder.resolve() == Path.cwd().resolve()
    steps = [] if here else [f"cd {folder}"]
    cases = "benchmarks/refund_approval.jsonl"
    steps += [
        "consensus policy check",
        "consensus policy show refund_approval",
        f"consensus decide refund_approval --input {cases} --output out.jsonl",
    ]
    sys.stdout.write("\nnext:\n" + "".join(f"  {step}\n" for step in steps))
