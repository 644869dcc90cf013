"""A run's folder, written a line at a time."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from consensus.benchmark.run_format.columns import Price
from consensus.benchmark.run_format.reading import FORMAT, answer_lines, case_lines, manifest_of
from consensus.benchmark.run_format.report import ImportReport

__all__ = ["RunWriter"]


class RunWriter:
    """Writes a run's folder, a line at a time.

    A live run opens it again after a crash: cases and answers that are there already stay, and
    :attr:`done` says which answers need no further call. A torn last line is cut off first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        prices: Mapping[str, Price] | None = None,
        compress: bool = False,
    ) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = {
            "format": FORMAT,
            "name": name,
            "prices": {
                model: {k: v for k, v in price._asdict().items() if v is not None}
                for model, price in sorted((prices or {}).items())
            },
        }
        self.done: set[tuple[str, str, str, int]] = set()
        self._compress = compress
        self._cases: IO[str] | None = None
        self._answers: IO[str] | None = None
        self._known: set[str] = set()

    def __enter__(self) -> RunWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        cases = self.folder / "cases.jsonl"
        report = ImportReport()
        if (self.folder / "manifest.json").exists():
            manifest_of(self.folder)
            _mend(cases)
            _mend(self.folder / "answers.jsonl")
            self._known = {str(r.get("case_id")) for _, r, _ in case_lines(cases, report)}
            for _, line in answer_lines(self.folder, report):
                self.done.add(
                    (
                        str(line["case"]),
                        str(line["model"]),
                        str(line.get("variant") or ""),
                        int(line.get("sample") or 0),
                    )
                )
        self._cases = cases.open("a", encoding="utf-8")
        if self._compress:
            # A fixed time stamp keeps the same run byte-identical.
            raw = gzip.GzipFile(self.folder / "answers.jsonl.gz", "wb", compresslevel=6, mtime=0)
            import io

            self._answers = io.TextIOWrapper(raw, encoding="utf-8")
        else:
            self._answers = (self.folder / "answers.jsonl").open("a", encoding="utf-8")
        self.write_manifest()
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._cases, self._answers):
            if stream is not None:
                stream.close()
        self.write_manifest()

    def write_manifest(self) -> None:
        """Write ``manifest.json`` whole, or not at all."""
        target = self.folder / "manifest.json"
        temporary = target.with_suffix(".json.part")
        text = json.dumps(self.manifest, ensure_ascii=False, indent=1, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(target)

    def case(self, record: Mapping[str, Any]) -> None:
        """Add a case; one that is there already is left as it is."""
        case_id = str(record["case_id"])
        if self._cases is None:
            raise RuntimeError("open the writer with a with statement first")
        if case_id not in self._known:
            self._known.add(case_id)
            self._cases.write(_line(record))

    def answer(self, line: Mapping[str, Any], *, durable: bool = False) -> None:
        """Append an answer line; ``durable`` waits until it is on disk."""
        if self._answers is None:
            raise RuntimeError("open the writer with a with statement first")
        self._answers.write(_line(line))
        if durable:
            self._answers.flush()
            os.fsync(self._answers.fileno())


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _mend(path: Path) -> None:
    """Cut off a last line that a crash left without its end."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as stream:
        data = stream.read()
        if not data.endswith(b"\n"):
            stream.truncate(data.rfind(b"\n") + 1)
