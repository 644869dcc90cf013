"""One GGUF file, loaded: prompts to tokens, tokens to text or to next-token probabilities.

Everything here blocks and belongs to one thread; ``local.py`` keeps it off the event loop.

Two properties are bought with care:

- **The same request gives the same numbers, whatever was asked before.** Quantised weights round
  differently in batches of different shapes, and a prompt that is half in the cache is evaluated
  in other batches than a cold one (two to three points of probability were seen). So a prompt is
  cut at fixed places (after the system prompt, after every :class:`Part` marked ``cache``), only
  whole segments are reused, and at each cut the last token is evaluated again by itself: every
  segment starts from the same state, cold or cached.
- **Judged text cannot speak for the system.** It is tokenised apart from the chat template and
  without the model's control tokens, so ``<|im_end|>`` in a ticket is eight harmless characters.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from consensus.errors import MissingExtraError, ProviderError
from consensus.models._local_choices import ChoiceReading, Token, read_choices
from consensus.models.protocol import Request

__all__ = ["LlamaServer", "Prompt", "Stop", "Written"]

_LISTED = 1000
"""Next tokens listed per evaluation: what is left out has less than 1e-5 each, and the list takes
ten milliseconds."""

_BATCH = 256
"""Tokens per batch: how often a long prompt can be stopped. 512 was no faster on two cores."""


@dataclass(slots=True, eq=False)
class Stop:
    """When a call must end: a moment on the monotonic clock, or because nobody waits for it."""

    at: float = math.inf
    cancelled: threading.Event = field(default_factory=threading.Event)

    def due(self) -> bool:
        """Say whether the call should end now."""
        return self.cancelled.is_set() or time.monotonic() >= self.at


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids in segments: all but the last are shared with other prompts, and are kept."""

    segments: tuple[tuple[int, ...], ...]

    @property
    def ids(self) -> list[int]:
        """All tokens."""
        return [token for segment in self.segments for token in segment]

    def __len__(self) -> int:
        return sum(map(len, self.segments))


@dataclass(frozen=True, slots=True)
class Written:
    """An answer in text, and the tokens it took."""

    text: str
    finish: Literal["stop", "length"]
    tokens: int


class LlamaServer:
    """A loaded model. Every method blocks; one thread at a time, except :meth:`prompt`.

    Args:
        path: the GGUF file.
        window: the most tokens of prompt and answer together; its memory is taken at once.
        threads: CPU threads; None leaves llama.cpp's choice (the physical cores).

    Raises:
        MissingExtraError: xllamacpp is not installed.
        ProviderError: the file is no model that this engine can load.
    """

    def __init__(self, path: Path, *, window: int, threads: int | None = None) -> None:
        self._model = str(path)
        self._held: list[tuple[int, ...]] = []
        self._templates: dict[tuple[str, ...], list[str]] = {}
        self._connections = threading.local()
        self._key = secrets.token_urlsafe(24)
        self.evaluated = 0
        """Prompt tokens that were really computed, over this server's life."""
        llama = _import_engine()
        _check_magic(path)
        params = llama.CommonParams()
        params.model.path = str(path)
        params.n_ctx = window
        params.n_batch = params.n_ubatch = _BATCH
        params.n_parallel = 1
        params.cache_ram_mib = 0
        params.verbosity = -1
        params.ui = False
        params.hostnames = ["127.0.0.1"]
        # The engine always opens a loopback port; without a key every local process (and, by its
        # open CORS default, every web page) could use it.
        params.api_keys = [self._key]
        params.cors_origins = "null"
        params.endpoint_slots = False
        if threads is not None:
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        try:
            self._server = llama.Server(params)
        except RuntimeError as error:
            raise ProviderError(
                f"{path.name} could not be loaded: no GGUF model that this engine knows, "
                f"or not enough memory for a window of {window:,} tokens",
                failure="server_error",
            ) from error
        address = self._server.listening_address
        self._host, _, port = address.removeprefix("http://").rpartition(":")
        self._port = int(port)
        described = self._http("GET", "/v1/models", None)["data"][0]["meta"]
        self.window = int(described["n_ctx"])
        """Tokens of prompt and answer that this load has room for."""
        self.trained_window = int(described["n_ctx_train"])
        """Tokens that the model was trained to read: the most that a load should ask for."""

    def close(self) -> None:
        """Give the memory back."""
        connection = getattr(self._connections, "it", None)
        if connection is not None:
            connection.close()
        self._server = None

    # Prompts

    def prompt(self, request: Request) -> Prompt:
        """Render a request by the model's chat template and tokenise it, segment by segment.

        May be called from another thread than the rest.
        """
        pieces = self._pieces(request)
        segments: list[tuple[int, ...]] = []
        current: list[int] = []
        for index, (text, is_template, cut) in enumerate(pieces):
            if text:
                current += self._http(
                    "POST",
                    "/tokenize",
                    {
                        "content": text,
                        "add_special": index == 0,
                        "parse_special": is_template,
                    },
                )["tokens"]
            if cut and current and index < len(pieces) - 1:
                segments.append(tuple(current))
                current = []
        segments.append(tuple(current))
        return Prompt(tuple(segments))

    def _pieces(self, request: Request) -> list[tuple[str, bool, bool]]:
        """Cut a request into (text, is it the template's, is it the end of a shared prefix)."""
        contents: list[list[tuple[str, bool]]] = []
        roles: list[str] = []
        if request.system:
            roles.append("system")
            contents.append([(request.system, False)])
        for turn in request.turns:
            roles.append(turn.role)
            last = len(turn.parts) - 1
            contents.append(
                [
                    (part.text + ("" if i == last else "\n\n"), part.cache)
                    for i, part in enumerate(turn.parts)
                ]
            )
        frames = self._frames(tuple(roles))
        pieces: list[tuple[str, bool, bool]] = [(frames[0], True, False)]
        for index, texts in enumerate(contents):
            pieces += [(text, False, cut) for text, cut in texts]
            ends_system = index == 0 and roles[0] == "system"
            pieces.append((frames[index + 1], True, ends_system))
        return pieces

    def _frames(self, roles: tuple[str, ...]) -> list[str]:
        """Render what the chat template puts before, between and after contents of these roles."""
        if roles not in self._templates:
            marks = [f"@@{secrets.token_hex(8)}@@" for _ in roles]
            messages = [{"role": r, "content": m} for r, m in zip(roles, marks, strict=True)]
            rendered = self._http(
                "POST",
                "/apply-template",
                {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}},
            )["prompt"]
            frames = []
            rest = rendered
            for mark in marks:
                frame, found, rest = rest.partition(mark)
                if not found:
                    raise ProviderError(
                        f"the chat template of {Path(self._model).name} does not show every turn "
                        f"({', '.join(roles)})",
                        failure="bad_request",
                    )
                frames.append(frame)
            self._templates[roles] = [*frames, rest]
        return self._templates[roles]

    # Answers

    def ballot(self, prompt: Prompt, choices: Sequence[str], stop: Stop) -> ChoiceReading:
        """Measure the probability of each choice as the answer's beginning."""
        self._hold(prompt.segments[:-1], stop)
        ids = prompt.ids
        cached = len(prompt.segments) > 1

        def next_tokens(path: tuple[int, ...]) -> list[Token]:
            return self._next_tokens([*ids, *path], stop, cached=cached or bool(path))

        return read_choices(choices, next_tokens)

    def write(
        self,
        prompt: Prompt,
        stop: Stop,
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        schema: dict[str, Any] | None,
    ) -> Written:
        """Write an answer; ``schema`` is enforced token by token by a grammar."""
        self._hold(prompt.segments[:-1], stop)
        payload: dict[str, Any] = {
            "n_predict": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "cache_prompt": len(prompt.segments) > 1,
        }
        if schema is not None:
            payload["json_schema"] = schema
        texts: list[str] = []
        finish: Literal["stop", "length"] = "stop"
        tokens = 0

        def read(chunk: dict[str, Any]) -> None:
            nonlocal finish, tokens
            choice = chunk["choices"][0]
            texts.append(choice.get("text") or "")
            if choice.get("finish_reason"):
                finish = "length" if choice["finish_reason"] == "length" else "stop"
                tokens = int(chunk["usage"]["completion_tokens"])

        self._evaluate(prompt.ids, payload, stop, read)
        return Written("".join(texts), finish, tokens)

    def _next_tokens(self, ids: list[int], stop: Stop, *, cached: bool) -> list[Token]:
        found: list[Token] = []

        def read(chunk: dict[str, Any]) -> None:
            content = (chunk["choices"][0].get("logprobs") or {}).get("content")
            if content and not found:
                found.extend(
                    Token(item["id"], bytes(item["bytes"]), math.exp(item["logprob"]))
                    for item in content[0]["top_logprobs"]
                )

        payload = {
            "n_predict": 1,
            "n_probs": _LISTED,
            "temperature": -1.0,
            "ignore_eos": True,
            "cache_prompt": cached,
        }
        self._evaluate(ids, payload, stop, read)
        if not found:
            raise ProviderError("the local model gave no token", failure="malformed_response")
        return found

    # The cache

    def _hold(self, segments: Sequence[tuple[int, ...]], stop: Stop) -> None:
        """Bring the cache to exactly these segments, evaluating only what it does not hold."""
        same = 0
        for held, wanted in zip(self._held, segments, strict=False):
            if held != wanted:
                break
            same += 1
        self._held = self._held[:same]
        if not segments:
            return
        ids = [token for segment in segments[:same] for token in segment]
        if same:
            self._pin(ids, stop)
        for segment in segments[same:]:
            cold = not ids
            ids += segment
            self._evaluate(ids, {"n_predict": 0, "cache_prompt": not cold}, stop)
            self._pin(ids, stop)
            self._held.append(segment)

    def _pin(self, ids: list[int], stop: Stop) -> None:
        """Cut the cache back to these tokens; its last one is evaluated by itself."""
        self._evaluate(ids, {"n_predict": 0, "cache_prompt": True}, stop)

    def _evaluate(
        self,
        ids: list[int],
        payload: dict[str, Any],
        stop: Stop,
        read: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Run one completion, streamed so that it can be stopped between batches and tokens."""
        trouble: list[dict[str, Any] | Exception] = []
        whole = False

        def on_chunk(chunk: dict[str, Any]) -> bool:
            nonlocal whole
            try:
                if "error" in chunk:
                    trouble.append(chunk["error"])
                    return True
                if read is not None:
                    read(chunk)
                if chunk["choices"][0].get("finish_reason"):
                    whole = True
                    self.evaluated += int(chunk.get("timings", {}).get("prompt_n", 0))
            except Exception as error:  # noqa: BLE001 - must not pass through the C++ frames
                trouble.append(error)
                return True
            return not whole and stop.due()

        if not stop.due():
            self._server.handle_completions(
                {"prompt": ids, "stream": True, "return_progress": True, **payload}, on_chunk
            )
        if whole and not trouble:
            return
        self._held = []
        if trouble:
            raise _translate(trouble[0])
        if stop.cancelled.is_set():
            raise ProviderError("the call was cancelled", failure="cancelled")
        if stop.due():
            raise ProviderError(
                "the local model did not answer in time", failure="timeout", retryable=True
            )
        raise ProviderError("the local model stopped early", failure="malformed_response")

    def _http(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Ask the engine's own loopback port what has no in-process call: tokens and templates."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        for attempt in (1, 2):
            connection = getattr(self._connections, "it", None)
            if connection is None:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
                self._connections.it = connection
            try:
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                with contextlib.suppress(OSError):
                    connection.close()
                self._connections.it = None
                if attempt == 2:
                    raise ProviderError(
                        "the local engine does not answer", failure="connection"
                    ) from error
                continue
            if response.status >= 400:
                raise _translate(answer.get("error", {}))
            return dict(answer)
        raise AssertionError("unreachable")


def _import_engine() -> Any:
    # Read by the OpenMP runtime once, when it loads: spinning threads cost a busy machine two
    # thirds of its speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtraError(
            "local models need the engine xllamacpp, which is not installed",
            fix="pip install 'consensus-engine[local]'",
        ) from error
    return xllamacpp


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ProviderError(
            f"{path}: cannot be read ({error.strerror})", failure="not_found"
        ) from error
    if magic != b"GGUF":
        raise ProviderError(f"{path}: is not a GGUF file", failure="bad_request")


def _translate(trouble: dict[str, Any] | Exception) -> ProviderError:
    """Make a ProviderError of what the engine said; its message is never shown the judged text."""
    if isinstance(trouble, Exception):
        return ProviderError(
            f"the local engine's answer could not be read ({type(trouble).__name__})",
            failure="malformed_response",
        )
    kind = str(trouble.get("type", ""))
    code = trouble.get("code")
    status = code if isinstance(code, int) else None
    if kind == "exceed_context_size_error":
        return ProviderError(
            f"the prompt has {trouble.get('n_prompt_tokens', '?')} tokens; "
            f"the window is {trouble.get('n_ctx', '?')}",
            failure="request_too_large",
            status=status,
        )
    if kind == "invalid_request_error":
        return ProviderError(
            "the local engine refused the request (an answer schema it cannot enforce?)",
            failure="bad_request",
            status=status,
        )
    return ProviderError(f"the local engine failed ({kind})", failure="server_error", status=status)
