"""What was asked: one request of either API, in the same words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Api = Literal["anthropic", "openai"]
BYTES_PER_TOKEN = 4

_OFFER = re.compile(r"Answer with exactly one (?:word|number|of these): (.+)\.\s*$")
_ASIDE = re.compile(r" \([^)]*\)")
_SCALE = re.compile(r"(?:a number|the whole scale) from (-?[\d.]+) to (-?[\d.]*\d)")


@dataclass(frozen=True)
class RequestInfo:
    """One request as a script sees it.

    Attributes:
        api: whose protocol it came in.
        path: of the URL.
        n: which request of this server's life it is, from 1.
        nth: how often this very request (``key``) has been asked, this time included.
        model: as named in the body.
        system: the system prompt.
        prompt: all turns, joined by blank lines; ``last`` is the last of them.
        schema: the JSON Schema asked for, natively or as a forced tool.
        choices: the closed set that the schema's answer is chosen from, or that the last words of
            the prompt name ("Answer with exactly one word: approve or reject.").
        scale: the numbers between which the prompt asks for one ("a number from 1 to 10").
        tool: the name of the tool that is forced, if one is.
        wants_logprobs: whether token probabilities are asked for.
        key: hash of the body.
    """

    api: Api
    path: str
    n: int
    nth: int
    model: str
    system: str
    prompt: str
    last: str
    schema: dict[str, Any] | None
    choices: tuple[str, ...]
    scale: tuple[float, float] | None
    tool: str | None
    wants_logprobs: bool
    stream: bool
    key: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def api_key(self) -> str:
        """The key that came with it, from either header."""
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ").strip()
        return self.headers.get("x-api-key", "").strip() or bearer


def read_request(
    api: Api, path: str, body: dict[str, Any], headers: Mapping[str, str], n: int, nth: int
) -> RequestInfo:
    """Read a body of either API."""
    schema, tool = _anthropic_schema(body) if api == "anthropic" else _openai_schema(body)
    turns = [(m.get("role"), flat(m.get("content"))) for m in body.get("messages") or ()]
    system = flat(body.get("system"))
    if api == "openai":
        system = "\n\n".join(text for role, text in turns if role in {"system", "developer"})
        turns = [(role, text) for role, text in turns if role not in {"system", "developer"}]
    last = turns[-1][1] if turns else ""
    if schema is None:
        schema = _schema_in_words(system)
    return RequestInfo(
        api=api,
        path=path,
        n=n,
        nth=nth,
        model=str(body.get("model", "")),
        system=system,
        prompt="\n\n".join(text for _, text in turns),
        last=last,
        schema=schema,
        choices=closed_set(schema) or named_choices(last),
        scale=named_scale(last),
        tool=tool,
        wants_logprobs=bool(body.get("logprobs")),
        stream=bool(body.get("stream")),
        key=content_key(body),
        headers={name.lower(): value for name, value in headers.items()},
        body=body,
    )


def content_key(body: Mapping[str, Any]) -> str:
    """A hash of what is asked; whether it is streamed does not matter."""
    asked = {k: v for k, v in body.items() if k not in {"stream", "stream_options"}}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def flat(content: Any) -> str:
    """The text of a content that is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in content or () if isinstance(block, dict))


def tokens(text: str | bytes) -> int:
    """The server's tokenizer: four bytes a token, rounded up."""
    size = len(text) if isinstance(text, bytes) else len(text.encode())
    return -(-size // BYTES_PER_TOKEN)


def closed_set(schema: dict[str, Any] | None) -> tuple[str, ...]:
    """The values of a schema's ``answer`` enum, else of its first enum."""
    if not schema:
        return ()
    properties = schema.get("properties") or {}
    named = [properties["answer"]] if "answer" in properties else []
    for part in (*named, schema, *properties.values()):
        if isinstance(part, dict):
            for place in (part, part.get("items")):
                if isinstance(place, dict) and isinstance(place.get("enum"), list):
                    return tuple(str(value) for value in place["enum"])
    return ()


def named_choices(prompt: str) -> tuple[str, ...]:
    """The words that a prompt's last sentence offers, or nothing."""
    match = _OFFER.search(prompt)
    if match is None:
        return ()
    words = _ASIDE.sub("", match.group(1))
    return tuple(word.strip() for word in re.split(r", | or ", words) if word.strip())


def named_scale(prompt: str) -> tuple[float, float] | None:
    """The scale on which a prompt asks for a number, or None."""
    match = _SCALE.search(prompt)
    return (float(match.group(1)), float(match.group(2))) if match else None


def _schema_in_words(system: str) -> dict[str, Any] | None:
    """A schema that the system prompt ends with, for APIs that cannot be given one."""
    _, found, text = system.rpartition("JSON Schema, and nothing else:\n")
    try:
        schema = json.loads(text) if found else None
    except ValueError:
        return None
    return schema if isinstance(schema, dict) else None


def _anthropic_schema(body: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    choice = body.get("tool_choice") or {}
    if choice.get("type") in {"tool", "any"}:
        for tool in body.get("tools") or ():
            if choice.get("name") in {None, tool.get("name")}:
                return tool.get("input_schema"), tool.get("name")
    return ((body.get("output_config") or {}).get("format") or {}).get("schema"), None


def _openai_schema(body: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    choice = body.get("tool_choice")
    if choice == "required" or isinstance(choice, dict):
        name = choice["function"]["name"] if isinstance(choice, dict) else None
        for tool in body.get("tools") or ():
            function = tool.get("function") or {}
            if name in {None, function.get("name")}:
                return function.get("parameters"), function.get("name")
    return ((body.get("response_format") or {}).get("json_schema") or {}).get("schema"), None
