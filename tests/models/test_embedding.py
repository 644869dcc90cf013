"""Vectors as completions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from consensus.ballots import Usage
from consensus.errors import ProviderError
from consensus.models._billing import Biller
from consensus.models._local_encoder import PIECE, SentenceEncoder
from consensus.models.embedding import embedding_request, is_embedding, packed, vector_of
from consensus.models.local import LocalClient
from consensus.models.prices import PriceBook
from consensus.models.protocol import Completion, Part, Request, Turn
from tests.models.local_fixtures import FOLDER, TINY, local_model

MINILM = "local/all-minilm-l6-v2"


def completion(text: str) -> Completion:
    return Completion(text=text, served_model="a/b", usage=Usage())


def test_a_vector_comes_back_with_length_one() -> None:
    assert vector_of(completion(packed([3.0, 4.0]))) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize(
    "text", ["", "approve", packed([]), packed([0.0, 0.0]), packed([float("nan"), 1.0]), "AAAAAA=="]
)
def test_what_is_no_vector_is_refused(text: str) -> None:
    with pytest.raises(ProviderError, match="no embedding"):
        vector_of(completion(text))


def test_only_a_request_that_reserves_no_output_asks_for_a_vector() -> None:
    asked = embedding_request("a/b", "")
    assert is_embedding(asked)
    assert asked.turns[-1].text == "(no text)"
    assert not is_embedding(Request("a/b", "", (Turn("user", (Part("x"),)),)))


def test_a_vector_is_billed_by_its_input_alone_and_not_estimated() -> None:
    model = "openai/text-embedding-3-small"
    billed = Biller(PriceBook()).bill(
        embedding_request(model, "a text"), model, Usage(input=50), packed([1.0])
    )
    assert billed == (Usage(input=50), 50 * 20_000, "served")


def tensors(path: Path, header: dict[str, object], data: bytes = b"") -> Path:
    told = json.dumps(header).encode()
    path.write_bytes(len(told).to_bytes(8, "little") + told + data)
    return path


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({}, b"1234"),
        ({"encoder.layer.0.x": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, b"1234"),
        ({"encoder.layer.0.x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"1234"),
        ({"encoder.layer.0.x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        ({"encoder.layer.0.x": 3}, b"1234"),
    ],
)
def test_a_file_that_holds_no_encoder_is_refused(
    tmp_path: Path, header: dict[str, object], data: bytes
) -> None:
    with pytest.raises(ProviderError, match="no sentence encoder"):
        SentenceEncoder(tensors(tmp_path / "x.safetensors", header, data))


def test_a_pickle_is_no_weights_file(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"\x80\x04\x95" + bytes(40))
    with pytest.raises(ProviderError, match="no sentence encoder"):
        SentenceEncoder(file)


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder(local_model("all-minilm-l6-v2"))


def vector(
    encoder: SentenceEncoder, text: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return encoder.encode(text, lambda: False)[0]


@pytest.mark.needs("local-model")
def test_the_encoder_gives_the_similarities_that_its_publisher_shows(
    encoder: SentenceEncoder,
) -> None:
    first = vector(encoder, "That is a happy person")
    others = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    found = [float(first @ vector(encoder, other)) for other in others]
    assert found == pytest.approx([0.695, 0.943, 0.257], abs=1e-3)


@pytest.mark.needs("local-model")
def test_a_long_text_is_read_in_pieces_to_its_end(encoder: SentenceEncoder) -> None:
    long = "The kettle arrived. " * 120
    assert encoder.count(long) > 2 * PIECE - 40
    read, tokens = encoder.encode(long, lambda: False)
    assert tokens == encoder.count(long)
    assert float(read @ vector(encoder, long + "It was cracked, cold and late.")) < 1 - 1e-4


@pytest.mark.needs("local-model")
async def test_the_local_client_makes_vectors_and_counts_what_it_read(
    encoder: SentenceEncoder,
) -> None:
    client = LocalClient(folder=FOLDER)
    asked = embedding_request(MINILM, "A kettle.")
    made = await client.complete(asked, timeout_s=600)
    counted = await client.count_tokens(asked)
    await client.aclose()
    assert made.served_model == f"{MINILM}@53aa51172d14"
    assert (made.usage, counted) == (Usage(input=5), 5)
    assert vector_of(made) == pytest.approx(vector(encoder, "A kettle."), abs=1e-5)


@pytest.mark.needs("local-model")
async def test_neither_kind_of_local_model_does_the_others_work() -> None:
    client = LocalClient(folder=FOLDER)
    local_model("all-minilm-l6-v2")
    local_model()
    chat = Request(MINILM, "", (Turn("user", (Part("x"),)),))
    with pytest.raises(ProviderError, match="answers nothing"):
        await client.complete(chat, timeout_s=60)
    with pytest.raises(ProviderError, match="makes no embeddings"):
        await client.complete(embedding_request(f"local/{TINY}", "x"), timeout_s=60)
    await client.aclose()
