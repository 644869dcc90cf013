"""Reading the folders of prompts into a book."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from consensus.errors import PromptError
from consensus.panel._documents import Document, read_document, sections_of
from consensus.panel.book import KindTemplate, PromptBook
from consensus.panel.framings import PLAIN, Framing, parse_framing
from consensus.panel.templates import Template, compile_template
from consensus.tasks import KINDS, Kind

__all__ = ["Shelf"]

_WORDS: dict[Kind, dict[str, Any]] = {
    "approve": {"words": ("approve", "reject"), "has_criteria": True},
    "choose": {"words": ("one", "two"), "numbered": False},
    "compare": {"words": ("first", "second", "tie")},
    "rank": {"words": ("item-1", "item-2"), "count": 2},
    "score": {"words": ("1", "2"), "low": "1", "high": "2"},
    "generate": {},
}
_SHARED: dict[str, Any] = {"criteria": "some rule", "subject": "some text"}
_ORDERED: dict[Kind, dict[str, Any]] = {
    "choose": {"options": ("- one", "- two"), "numbered": False},
    "compare": {"first": "some text", "second": "some text"},
    "rank": {"items": ("item-1: some text", "item-2: some text"), "count": 2},
}
_SCORED: tuple[Kind, ...] = ("approve", "choose", "compare")

_FIRST_SCORES = "7415307a21ec84b3a85b34a3123dea20847e80a4455dcc3d3d58a4c6b164702a"
"""The form for scores as it first was. Hashes leave that one text out, so that what was recorded
before there was a form for scores keeps its hash; any other text of it is hashed like the rest."""

_FRAMED = {"framing": "some instruction", "framing_name": "plain"}
_MESSAGE = {"role": "user", "content": "some text"}


class Shelf:
    """Gathers prompt files; a later folder goes over an earlier one."""

    def __init__(self) -> None:
        self.framings: dict[str, Framing] = {}
        self.templates: dict[Kind, KindTemplate] = {}
        self.texts: dict[str, dict[str, Template]] = {}
        self.system = ""
        self.hashed: dict[str, Any] = {}

    def add(self, folder: Path) -> None:
        if not folder.is_dir():
            raise PromptError("is not a folder of prompts", where=str(folder))
        fixed = ("system", "repair", "debate", "judge_candidates", "scores")
        seen: dict[str, str] = {}
        for path in sorted(folder.iterdir()):
            name = path.name
            if name.startswith(".") or name.upper() == "README.MD":
                continue
            if path.is_dir() and name in {"framings", "templates"}:
                for file in sorted(path.glob("*.md")):
                    if file.name.upper() == "README.MD":
                        continue
                    document = read_document(file, file=str(file))
                    if name == "framings":
                        self._framing(document, seen)
                    else:
                        self._template(document, file.stem)
            elif path.is_dir() and name not in {"rubrics", "synthesis"}:
                raise PromptError(
                    "is not a folder that prompts/ knows",
                    where=str(path),
                    fix="framings, templates, rubrics or synthesis",
                )
            elif path.suffix == ".md":
                if path.stem not in fixed:
                    raise PromptError(
                        "is not a file that prompts/ knows",
                        where=str(path),
                        fix=f"one of {', '.join(f'{stem}.md' for stem in fixed)}, or in framings/",
                    )
                self._fixed(read_document(path, file=str(path)), path.stem)

    def _framing(self, document: Document, seen: dict[str, str]) -> None:
        framing = parse_framing(document)
        if framing.name in seen:
            raise PromptError(
                f'framing "{framing.name}" is declared twice (also in {seen[framing.name]})',
                where=document.at("name"),
                fix="give one of them another name",
            )
        if framing.name == PLAIN and len(framing.kinds) < len(KINDS):
            raise PromptError(
                f'framing "{PLAIN}" must suit every kind: seat 0 has it',
                where=document.at("kinds"),
                fix=f"kinds: [{', '.join(KINDS)}]",
            )
        seen[framing.name] = document.file
        self.framings[framing.name] = framing

    def _template(self, document: Document, stem: str) -> None:
        document.only("kind", "version")
        version = document.integer("version")
        name = document.text("kind")
        kind = next((k for k in KINDS if k == name), None)
        if kind is None or name != stem:
            raise PromptError(
                f'"{name[:40]}" is not the kind that the file is named after',
                where=document.at("kind"),
                fix=f"one of {', '.join(f'{k}.md' for k in KINDS)}, with that kind",
            )
        answer = {**_FRAMED, **_WORDS[kind]}
        wanted: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}
        if kind != "generate":
            scale = _WORDS["score"] if kind == "score" else {}
            shared = {**_SHARED, **{k: v for k, v in scale.items() if k != "words"}}
            wanted["shared"] = (shared, ("criteria", "subject"))
        if kind in _ORDERED:
            needed = tuple(k for k in _ORDERED[kind] if k not in {"numbered", "count"})
            wanted["ordered"] = (_ORDERED[kind], needed)
        wanted["answer"] = (answer, ("framing",))
        if kind != "generate":
            wanted["token"] = (answer, ("framing", "words"))
        parts = _compiled(document, sections_of(document, tuple(wanted)), wanted)
        self.templates[kind] = KindTemplate(
            kind=kind,
            version=version,
            shared=parts.get("shared"),
            ordered=parts.get("ordered"),
            answer=parts["answer"],
            token=parts.get("token"),
        )

    def _fixed(self, document: Document, stem: str) -> None:
        document.only("name", "version")
        document.integer("version")
        if document.text("name") != stem:
            raise PromptError(
                "the name is not the file's", where=document.at("name"), fix=f"name: {stem}"
            )
        wanted: dict[str, tuple[dict[str, Any], tuple[str, ...]]]
        body = {"body": (document.body, document.body_line)}
        if stem == "system":
            if not document.body.strip():
                raise PromptError("is empty", where=f"{document.file}:{document.body_line}")
            self.system = document.body.strip()
        elif stem == "repair":
            wanted = {"body": ({"problem": "x", "form": "x"}, ("problem", "form"))}
            self.texts[stem] = _compiled(document, body, wanted)
        elif stem == "debate":
            wanted = {"body": ({"answers": "x", "form": "x"}, ("answers", "form"))}
            self.texts[stem] = _compiled(document, body, wanted)
        elif stem == "scores":
            wanted = {
                kind: (
                    {**_FRAMED, **_WORDS[kind], "low": "1", "high": "10"},
                    ("framing", "words", "low", "high"),
                )
                for kind in _SCORED
            }
            found = sections_of(document, tuple(wanted))
            self.texts[stem] = _compiled(document, found, wanted)
        else:
            wanted = {
                "subject": ({"system": "x", "messages": (_MESSAGE,)}, ("messages",)),
                "criteria": ({}, ()),
            }
            found = sections_of(document, tuple(wanted))
            self.texts[stem] = _compiled(document, found, wanted)

    def book(self) -> PromptBook:
        """Everything gathered, hashed."""
        framings = {name: _hashed_framing(f) for name, f in sorted(self.framings.items())}
        templates = {kind: _hashed_template(t) for kind, t in self.templates.items()}
        texts: dict[str, Any] = {
            stem: {name: part.source for name, part in parts.items()}
            for stem, parts in self.texts.items()
        }
        if _hash(texts["scores"]) == _FIRST_SCORES:
            del texts["scores"]
        texts["system"] = self.system
        whole = {"framings": framings, "templates": templates, "texts": texts}
        kinds: dict[Kind, str] = {
            kind: _hash(
                {
                    "framings": {n: f for n, f in framings.items() if kind in f["kinds"]},
                    "template": templates[kind],
                    "texts": texts,
                }
            )
            for kind in KINDS
        }
        return PromptBook(
            framings=self.framings,
            templates=self.templates,
            system=self.system,
            repair=self.texts["repair"]["body"],
            debate=self.texts["debate"]["body"],
            scores={kind: self.texts["scores"][kind] for kind in _SCORED},
            candidates_subject=self.texts["judge_candidates"]["subject"],
            candidates_criteria=self.texts["judge_candidates"]["criteria"],
            sha256=_hash(whole),
            _kind_hashes=kinds,
        )


def _compiled(
    document: Document,
    sections: Mapping[str, tuple[str, int]],
    wanted: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]],
) -> dict[str, Template]:
    compiled = {}
    for name, (variables, required) in wanted.items():
        if name not in sections:
            raise PromptError(
                f'has no section "{name}"',
                where=f"{document.file}:{document.body_line}",
                fix=f"<!-- section: {name} -->",
            )
        source, line = sections[name]
        compiled[name] = compile_template(
            source, file=document.file, line=line, variables=variables, required=required
        )
    return compiled


def _hashed_framing(framing: Framing) -> dict[str, Any]:
    return {
        "kinds": sorted(framing.kinds),
        "order": framing.order,
        "version": framing.version,
        "body": framing.body,
    }


def _hashed_template(template: KindTemplate) -> dict[str, Any]:
    parts = ("shared", "ordered", "answer", "token")
    sources = {part: getattr(template, part) for part in parts}
    return {part: found.source for part, found in sources.items() if found is not None} | {
        "version": template.version
    }


def _hash(data: object) -> str:
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()
