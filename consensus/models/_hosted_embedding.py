"""A provider's embeddings, as litellm asks for them: from a chat's arguments, to a completion."""

from __future__ import annotations

from typing import Any

from consensus.ballots import Usage
from consensus.errors import ProviderError
from consensus.models.embedding import packed
from consensus.models.protocol import Completion, Request

__all__ = ["embedding_arguments", "embedding_of"]

_OF_CHATS = frozenset(
    {"messages", "max_tokens", "temperature", "seed", "logprobs", "top_logprobs", "response_format"}
)


def embedding_arguments(request: Request, chat: dict[str, Any]) -> dict[str, Any]:
    """What ``litellm.aembedding`` is told, from what ``litellm.acompletion`` would be."""
    kept = {name: value for name, value in chat.items() if name not in _OF_CHATS}
    return {**kept, "input": [request.turns[-1].text], "encoding_format": "float"}


def embedding_of(request: Request, response: Any, latency_s: float) -> Completion:
    """An embedding response in our words.

    Raises:
        ProviderError: it holds no vector.
    """
    provider = request.model.partition("/")[0]
    served = getattr(response, "model", None)
    model = request.model
    if isinstance(served, str) and served:
        model = served if served.startswith(f"{provider}/") else f"{provider}/{served}"
    tokens = getattr(getattr(response, "usage", None), "prompt_tokens", None)
    usage = Usage(input=tokens) if isinstance(tokens, int) and tokens > 0 else Usage()
    try:
        first = response.data[0]
        vector = first["embedding"] if isinstance(first, dict) else first.embedding
        text = packed([float(value) for value in vector])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError):
        raise ProviderError(
            f"{request.model} sent an answer that is no embedding",
            failure="malformed_response",
            retryable=True,
            model=request.model,
            usage=usage,
            served_model=model,
        ) from None
    return Completion(text=text, served_model=model, usage=usage, latency_s=latency_s)
