"""Sentence embeddings on this machine by numpy alone: a BERT encoder read from its weights' file.

The model is all-MiniLM-L6-v2 (Wang et al. 2020, "MiniLM"; Reimers and Gurevych 2019,
"Sentence-BERT"): six layers, mean of the last layer's vectors, length one. Its weights are a
safetensors file: a JSON header and plain numbers, of which nothing is ever executed. Its vocabulary
(``minilm_vocabulary.txt``, BERT's uncased one, Apache-2.0) comes with this package.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consensus.errors import ProviderError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

__all__ = ["PIECE", "SentenceEncoder"]

PIECE = 256
"""Tokens that are read together, two marks included: what the model was trained on. A longer text
is read in pieces, and its vector is the mean over all tokens."""

_MOST_HEADER = 1 << 20
_HEAD_SIZE = 32
_EPSILON = 1e-12


class SentenceEncoder:
    """A loaded encoder. Every method blocks; one thread at a time.

    Args:
        path: the safetensors file, verified by whoever fetched it.

    Raises:
        ProviderError: the file holds no such encoder.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import BertWordPieceTokenizer

        listed = files("consensus.models").joinpath("minilm_vocabulary.txt")
        words = listed.read_text(encoding="utf-8").splitlines()
        self._tokenizer = BertWordPieceTokenizer(
            {word: place for place, word in enumerate(words)}, lowercase=True
        )
        try:
            self._weights = _read(path)
            self._layers = 1 + max(
                int(name.split(".")[2])
                for name in self._weights
                if name.startswith("encoder.layer.")
            )
            fits = self._weights["embeddings.word_embeddings.weight"].shape[0] == len(words)
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, OSError):
            fits = False
        if not fits:
            raise ProviderError(f"{path.name} holds no sentence encoder", failure="server_error")

    def count(self, text: str) -> int:
        """Tokens of a text, with the marks around each piece."""
        return sum(map(len, self._pieces(text)))

    def encode(self, text: str, due: Callable[[], bool]) -> tuple[Floats, int]:
        """The vector of a text, of length one, and the tokens that were read.

        Args:
            text: of any length.
            due: asked between pieces whether to stop; what was read so far then counts.
        """
        import numpy as np

        total: npt.NDArray[np.float64] | float = 0.0
        tokens = 0
        with _one_thread():
            for ids in self._pieces(text):
                total = total + self._states(ids).sum(axis=0, dtype=np.float64)
                tokens += len(ids)
                if due():
                    break
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32), tokens

    def _pieces(self, text: str) -> list[list[int]]:
        """Token ids between their two marks, at most :data:`PIECE` at a time."""
        ids: list[int] = self._tokenizer.encode(text).ids
        first, last, inner = ids[0], ids[-1], ids[1:-1]
        step = PIECE - 2
        starts = range(0, max(len(inner), 1), step)
        return [[first, *inner[start : start + step], last] for start in starts]

    def _states(self, ids: list[int]) -> Floats:
        """The last layer's vectors, (tokens, dimensions)."""
        held = self._weights
        x = held["embeddings.word_embeddings.weight"][ids]
        x = x + held["embeddings.position_embeddings.weight"][: len(ids)]
        x = x + held["embeddings.token_type_embeddings.weight"][0]
        x = self._normed(x, "embeddings.LayerNorm")
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}."
            seen = self._dense(
                self._attended(x, f"{name}attention.self."), f"{name}attention.output.dense"
            )
            x = self._normed(seen + x, f"{name}attention.output.LayerNorm")
            wide = _gelu(self._dense(x, f"{name}intermediate.dense"))
            x = self._normed(
                self._dense(wide, f"{name}output.dense") + x, f"{name}output.LayerNorm"
            )
        return x

    def _attended(self, x: Floats, name: str) -> Floats:
        import numpy as np

        tokens, size = x.shape
        query, key, value = (
            self._dense(x, name + part).reshape(tokens, -1, _HEAD_SIZE).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) * np.float32(1 / math.sqrt(_HEAD_SIZE))
        raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares = raised / raised.sum(axis=-1, keepdims=True)
        mixed: Floats = (shares @ value).transpose(1, 0, 2).reshape(tokens, size)
        return mixed

    def _dense(self, x: Floats, name: str) -> Floats:
        made: Floats = x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return made

    def _normed(self, x: Floats, name: str) -> Floats:
        import numpy as np

        away = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((away * away).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        made: Floats = (
            away / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        )
        return made


def _one_thread() -> AbstractContextManager[object]:
    """Keep BLAS from sharing out products this small: on a busy machine its threads wait for one
    another ten times as long as one of them computes. Without threadpoolctl (it comes with
    scikit-learn) they do."""
    control = _threads()
    if control is None:
        return nullcontext()
    limit: AbstractContextManager[object] = control.limit(limits=1, user_api="blas")
    return limit


@cache
def _threads() -> Any:
    try:
        return importlib.import_module("threadpoolctl").ThreadpoolController()
    except ImportError:
        return None


def _gelu(x: Floats) -> Floats:
    import numpy as np
    from scipy.special import erf

    made: Floats = x * np.float32(0.5) * (1 + erf(x * np.float32(1 / math.sqrt(2))))
    return made


def _read(path: Path) -> dict[str, Floats]:
    """The file's 32-bit tensors by name, mapped into memory.

    Raises:
        ValueError, KeyError, OSError: it is no safetensors file, or its header points outside.
    """
    import numpy as np

    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= _MOST_HEADER:
            raise ValueError(size)
        header: dict[str, Any] = json.loads(file.read(size))
    data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r", offset=8 + size))
    found: dict[str, Floats] = {}
    for name, told in header.items():
        if name == "__metadata__" or told["dtype"] != "F32":
            continue
        first, end = (int(place) for place in told["data_offsets"])
        if not 0 <= first <= end <= len(data):
            raise ValueError(name)
        found[name] = data[first:end].view("<f4").reshape([int(n) for n in told["shape"]])
    return found
