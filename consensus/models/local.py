"""Models on this machine: llama.cpp in process, one GGUF file at a time.

``local/NAME`` is a model of the catalogue (``consensus models list``), ``local//abs/path.gguf`` any
GGUF file. The engine (xllamacpp) is loaded at the first call. Models of the catalogue that make
embeddings need no engine: see ``_local_encoder``.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from consensus.ballots import Usage
from consensus.errors import DeclarationError, ProviderError
from consensus.models._catalogue_manifest import PREFIX, catalogue, is_pulled, where
from consensus.models._local_encoder import SentenceEncoder
from consensus.models._local_server import LlamaServer, Prompt, Stop
from consensus.models.embedding import is_embedding, packed
from consensus.models.protocol import Completion, Request

__all__ = ["LocalClient", "fingerprint"]

T = TypeVar("T")

_BALLOT_ROOM = 32
"""Tokens kept free for the beginnings of words that a ballot forces."""

_EDGE = 8 << 20


class LocalClient:
    """A :class:`~consensus.models.protocol.ModelClient` for ``local/…`` models.

    One thread evaluates, first come first served: a second evaluation beside the first would make
    both slower. The event loop never waits for it. Each file is loaded once and stays until
    :meth:`aclose`.

    ``complete`` has two modes. With ``request.choices`` the completion is a one-token ballot:
    ``choice_probabilities`` over the words, ``coverage``, and as ``text`` the likeliest word
    (empty on an exact tie); ``temperature``, ``seed`` and ``sample`` change nothing in it, the
    distribution is the model's own. Otherwise a text is written, greedily unless the request has
    a temperature, and ``output_schema`` is enforced by a grammar.

    The same request gives the same completion, whatever was asked before.

    ``usage.input`` counts all prompt tokens: reading them from the engine's own cache costs nobody
    anything, so there is no ``cache_read``. How many were really computed is in
    ``headers["x-local-evaluated-tokens"]``, the seconds in the queue in ``["x-local-queued-s"]``.
    ``usage.output`` counts the tokens written, for a ballot the next-token evaluations.

    ``timeout_s`` and ``latency_s`` are of the evaluation, not of the wait for the calls before it.
    A call cancelled while it waits is dropped; one that is being evaluated stops at its next batch
    of prompt tokens or its next written token.

    Args:
        folder: where pulled models are; None for :func:`~consensus.models.catalogue.models_folder`.
        threads: CPU threads; None leaves the engine's choice.
        first_window: tokens that a load makes room for at first (0.2 GB for 8,192 of a 1.5B
            model); a longer request has the model loaded again with twice the room, up to what
            it was trained for.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        threads: int | None = None,
        first_window: int = 8192,
    ) -> None:
        self._folder = folder
        self._threads = threads
        self._first_window = first_window
        self._servers: dict[Path, LlamaServer] = {}
        self._encoders: dict[Path, SentenceEncoder] = {}
        self._names: dict[Path, str] = {}
        self._stops: set[Stop] = set()
        self._closed = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="consensus-local")

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        """Answer one request, once.

        Raises:
            ProviderError: not pulled (``not_found``), over the window (``request_too_large``),
                no time (``timeout``), a schema the engine cannot enforce (``bad_request``).
            MissingExtraError: the engine is not installed.
        """
        self._check_open()
        path = self._path(request.model)
        asked = time.monotonic()
        if self._embeds(request):
            return await self._run(lambda stop: self._embed(request, path, stop, timeout_s))
        return await self._run(lambda stop: self._answer(request, path, stop, asked, timeout_s))

    async def load(self, model: str) -> None:
        """Have a model in memory before its first call.

        Raises:
            ProviderError: not pulled (``not_found``).
            MissingExtraError: the engine is not installed.
        """
        self._check_open()
        path = self._path(model)
        known = catalogue().get(model.removeprefix(PREFIX))
        if known is not None and known.kind == "embeddings":
            await self._run(lambda _: self._encoder(path))
        else:
            await self._run(lambda _: self._load(path))

    async def count_tokens(self, request: Request) -> int:
        """Tokens of the whole input by the model's own tokenizer and chat template."""
        self._check_open()
        path = self._path(request.model)
        if self._embeds(request):
            return await self._run(lambda _: self._encoder(path).count(request.turns[-1].text))
        return await self._run(lambda _: len(self._load(path).prompt(request)))

    async def aclose(self) -> None:
        """Stop what runs, and give the memory back."""
        if self._closed:
            return
        self._closed = True
        for stop in self._stops:
            stop.cancelled.set()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._worker, self._unload)
        self._worker.shutdown(wait=False)

    def _check_open(self) -> None:
        if self._closed:
            raise ProviderError("this client is closed", failure="cancelled")

    async def _run(self, work: Callable[[Stop], T]) -> T:
        """Have the worker do something; it is told when nobody waits any more."""
        stop = Stop()
        self._stops.add(stop)
        job = self._worker.submit(work, stop)
        try:
            return await asyncio.wrap_future(job)
        finally:
            stop.cancelled.set()
            self._stops.discard(stop)

    @staticmethod
    def _embeds(request: Request) -> bool:
        """Whether a vector is asked for, of a model that makes them."""
        known = catalogue().get(request.model.removeprefix(PREFIX))
        makes = known is not None and known.kind == "embeddings"
        if makes != is_embedding(request):
            can = "makes embeddings and answers nothing" if makes else "makes no embeddings"
            raise ProviderError(
                f"{request.model} {can}", failure="bad_request", model=request.model
            )
        return makes

    # On the worker's thread

    def _embed(self, request: Request, path: Path, stop: Stop, timeout_s: float) -> Completion:
        started = time.monotonic()
        stop.at = started + timeout_s
        vector, tokens = self._encoder(path).encode(request.turns[-1].text, stop.due)
        if stop.due():
            raise ProviderError(
                "the local model did not answer in time", failure="timeout", retryable=True
            )
        return Completion(
            text=packed(vector.tolist()),
            served_model=self._served(request.model, path),
            usage=Usage(input=tokens),
            latency_s=time.monotonic() - started,
        )

    def _encoder(self, path: Path) -> SentenceEncoder:
        if path not in self._encoders:
            self._encoders[path] = SentenceEncoder(path)
        return self._encoders[path]

    def _answer(
        self, request: Request, path: Path, stop: Stop, asked: float, timeout_s: float
    ) -> Completion:
        server = self._load(path)
        started = time.monotonic()
        stop.at = started + timeout_s
        prompt = server.prompt(request)
        reserved = _BALLOT_ROOM if request.choices else request.max_output_tokens
        server = self._with_room(server, path, prompt, reserved)
        before = server.evaluated
        if request.choices:
            completion = self._ballot(server, request, path, prompt, stop)
        else:
            completion = self._text(server, request, path, prompt, stop)
        headers = {
            "x-local-evaluated-tokens": str(server.evaluated - before),
            "x-local-queued-s": f"{started - asked:.3f}",
        }
        return replace(completion, headers=headers, latency_s=time.monotonic() - started)

    def _ballot(
        self, server: LlamaServer, request: Request, path: Path, prompt: Prompt, stop: Stop
    ) -> Completion:
        try:
            reading = server.ballot(prompt, request.choices, stop)
        except ValueError as error:
            raise ProviderError(str(error), failure="bad_request", model=request.model) from error
        text = ""
        if reading.probabilities is not None:
            top = max(reading.probabilities)
            if reading.probabilities.count(top) == 1:
                text = request.choices[reading.probabilities.index(top)]
        return Completion(
            text=text,
            served_model=self._served(request.model, path),
            usage=Usage(input=len(prompt), output=reading.steps),
            choice_probabilities=reading.probabilities,
            coverage=reading.coverage,
        )

    def _text(
        self, server: LlamaServer, request: Request, path: Path, prompt: Prompt, stop: Stop
    ) -> Completion:
        written = server.write(
            prompt,
            stop,
            max_tokens=request.max_output_tokens,
            temperature=request.temperature or 0.0,
            seed=((request.seed or 0) * 1_000_003 + request.sample) % 2**32,
            schema=request.output_schema,
        )
        return Completion(
            text=written.text,
            served_model=self._served(request.model, path),
            usage=Usage(input=len(prompt), output=written.tokens),
            finish=written.finish,
        )

    def _load(self, path: Path, window: int | None = None) -> LlamaServer:
        server = self._servers.get(path)
        if server is None:
            window = window or self._first_window
            server = LlamaServer(path, window=window, threads=self._threads)
            if server.window > server.trained_window:
                server.close()
                server = LlamaServer(path, window=server.trained_window, threads=self._threads)
            self._servers[path] = server
        return server

    def _with_room(
        self, server: LlamaServer, path: Path, prompt: Prompt, reserved: int
    ) -> LlamaServer:
        """Load the model again with a larger window where this request needs it."""
        needed = len(prompt) + reserved
        if needed <= server.window:
            return server
        if needed > server.trained_window:
            raise ProviderError(
                f"{len(prompt):,} tokens and {reserved:,} reserved for the answer do not fit "
                f"the window of {server.trained_window:,}",
                failure="request_too_large",
            )
        window = server.window
        while window < needed:
            window *= 2
        self._servers.pop(path).close()
        return self._load(path, min(window, server.trained_window))

    def _unload(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        self._encoders.clear()

    # Names

    def _path(self, model: str) -> Path:
        name = model.removeprefix(PREFIX)
        if name.startswith("/"):
            path = Path(name)
            if not path.is_file():
                raise ProviderError(f"{path}: no such file", failure="not_found", model=model)
            return path
        try:
            path = where(name, self._folder)
        except DeclarationError as error:
            raise ProviderError(str(error), failure="not_found", model=model) from error
        if not is_pulled(name, self._folder):
            raise ProviderError(
                f"{model} is not on this machine (run: consensus models pull {name})",
                failure="not_found",
                model=model,
            )
        return path

    def _served(self, model: str, path: Path) -> str:
        if path not in self._names:
            entry = catalogue().get(model.removeprefix(PREFIX))
            self._names[path] = entry.sha256[:12] if entry else fingerprint(path)
        return f"{model}@{self._names[path]}"


def fingerprint(path: Path) -> str:
    """Name a file by its size and the hash of its first and last 8 MiB: 12 hexadecimal digits.

    It tells two models apart in an instant; it does not prove a file's bytes as the catalogue's
    SHA-256 does, and starts with ``~`` to say so.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_EDGE))
        if size > 2 * _EDGE:
            file.seek(-_EDGE, 2)
        digest.update(file.read())
    return "~" + digest.hexdigest()[:12]
