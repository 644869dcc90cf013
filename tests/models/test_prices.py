"""Prices: exact, by class, by length, in batches; names that resolve by rule and never by guess."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots import Usage
from consensus.errors import PriceError
from consensus.models.price_map import find_map, load_map, name_candidates
from consensus.models.prices import PriceBook
from consensus.models.windows import THINKING_ROOM, UNKNOWN_WINDOW, Window

HAIKU = "anthropic/claude-haiku-5-5"
OPUS = "anthropic/claude-opus-5-5"
COUNTS = st.integers(0, 2_000_000)
USAGES = st.builds(
    Usage,
    input=COUNTS,
    cache_read=COUNTS,
    cache_write=COUNTS,
    cache_write_1h=COUNTS,
    output=COUNTS,
)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def made(tmp_path: Path, **models: dict[str, Any]) -> PriceBook:
    """A book over a map of our own."""
    path = tmp_path / "map.json"
    path.write_text(json.dumps(models))
    return PriceBook(path=path)


class TestReadingTheMap:
    def test_litellm_is_never_imported(self) -> None:
        code = (
            "import sys; from consensus.models.prices import PriceBook;"
            f"PriceBook().price({OPUS!r}); assert 'litellm' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_the_map_says_where_it_is_from(self, book: PriceBook) -> None:
        import hashlib
        from importlib.metadata import version

        raw = Path(book.source).read_bytes()
        assert book.sha256 == hashlib.sha256(raw).hexdigest()
        assert book.litellm_version == version("litellm")
        assert date(2026, 1, 1) < book.date <= date.today()  # noqa: DTZ011

    def test_a_file_is_parsed_once_a_process(self) -> None:
        assert load_map() is load_map()
        assert load_map(find_map()).entries == load_map().entries

    def test_a_missing_map_is_one_clear_line(self, tmp_path: Path) -> None:
        with pytest.raises(PriceError, match=r"nowhere\.json: cannot be read: No such file"):
            PriceBook(path=tmp_path / "nowhere.json").price(OPUS)

    @pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {}, "b": 1}'])
    def test_a_broken_map_is_one_clear_line(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "map.json"
        path.write_text(text)
        with pytest.raises(PriceError, match=r"map\.json: is not"):
            PriceBook(path=path).price(OPUS)

    def test_models_without_money_need_no_map(self, tmp_path: Path) -> None:
        book = PriceBook(path=tmp_path / "nowhere.json")
        assert book.price("local/qwen").cost_pico(Usage(input=9, output=9)) == 0
        assert book.price("scripted/fair").source == "declared"


class TestNames:
    @pytest.mark.parametrize(
        ("model", "key"),
        [
            ("anthropic/claude-opus-5-5", "claude-opus-5-5"),
            ("claude-opus-5-5", "claude-opus-5-5"),
            ("anthropic/claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
            ("anthropic/claude-haiku-5-5-20261007", "claude-haiku-5-5"),
            ("openai/gpt-5.4", "gpt-5.4"),
            ("openai/gpt-5.4-2026-03-05", "gpt-5.4-2026-03-05"),
            ("openai/gpt-5.4-2031-01-01", "gpt-5.4"),
            ("gemini/gemini-2.5-flash", "gemini/gemini-2.5-flash"),
            ("azure/gpt-5.4", "azure/gpt-5.4"),
            ("vertex_ai/claude-haiku-4-5@20251001", "vertex_ai/claude-haiku-4-5@20251001"),
        ],
    )
    def test_resolve_by_rule(self, book: PriceBook, model: str, key: str) -> None:
        assert book.price(model).key == key

    @pytest.mark.parametrize(
        "model",
        [
            "groq/gpt-5.4",  # OpenAI's model, not this provider's
            "anthropic/gpt-5.4",
            "openai/gpt-5.44",
            "openai/gpt-5.4-nanoo",
            "openai/sample_spec",
            "sample_spec",
            "openai/",
        ],
    )
    def test_never_guess(self, book: PriceBook, model: str) -> None:
        with pytest.raises(PriceError):
            book.price(model)

    def test_a_date_is_taken_off_and_never_added(self) -> None:
        assert name_candidates("openai/m-2026-01-02") == (
            "openai/m-2026-01-02",
            "m-2026-01-02",
            "openai/m",
            "m",
        )
        assert name_candidates("m") == ("m",)

    def test_an_unknown_model_is_an_error_that_says_what_to_write(self, book: PriceBook) -> None:
        with pytest.raises(PriceError) as caught:
            book.price("openai/in-house")
        assert '[prices."openai/in-house"]' in str(caught.value)
        assert "input = …" in str(caught.value)
        assert "$ per million tokens" in str(caught.value)

    def test_a_zero_that_nobody_meant_is_no_price(self, tmp_path: Path) -> None:
        free = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "chat"}
        book = made(
            tmp_path,
            **{
                "gone": {**free, "litellm_provider": "volcengine"},
                "ollama/mine": {**free, "litellm_provider": "ollama"},
                "ollama/big-cloud": {**free, "litellm_provider": "ollama"},
            },
        )
        with pytest.raises(PriceError, match="without a usable price"):
            book.price("volcengine/gone")
        with pytest.raises(PriceError, match="without a usable price"):
            book.price("ollama/big-cloud")
        assert book.price("ollama/mine").cost_pico(Usage(input=5, output=5)) == 0

    def test_a_model_priced_per_character_has_no_token_price(self, tmp_path: Path) -> None:
        entry = {"input_cost_per_character": 1e-7, "litellm_provider": "vertex_ai"}
        with pytest.raises(PriceError, match="without a usable price"):
            made(tmp_path, old=entry).price("vertex_ai/old")


class TestCost:
    def test_a_rate_is_the_decimal_that_was_written(self, book: PriceBook) -> None:
        assert book.price(HAIKU).rates().input == 100_000  # 1e-07 $ a token, not the float beside

    def test_each_class_has_its_own_price(self, book: PriceBook) -> None:
        usage = Usage(input=1000, cache_read=500, cache_write=200, cache_write_1h=100, output=300)
        pico = book.price(OPUS).cost_pico(usage)
        assert pico == (
            1000 * 4_000_000 + 500 * 200_000 + 200 * 5_000_000 + 100 * 8_000_000 + 300 * 20_000_000
        )

    def test_fractions_of_a_pico_dollar_are_rounded_once_half_to_even(self) -> None:
        book = PriceBook({"openai/x": {"input": "0.0000005", "output": 0}})
        price = book.price("openai/x")
        assert price.rates().input == Fraction(1, 2)
        costs = [price.cost_pico(Usage(input=n)) for n in (1, 2, 3, 4, 5)]
        assert costs == [0, 1, 2, 2, 2]

    def test_thinking_is_part_of_the_output_and_paid_once(self, book: PriceBook) -> None:
        price = book.price(OPUS)
        assert price.cost_pico(Usage(input=1, output=100, reasoning=90)) == price.cost_pico(
            Usage(input=1, output=100)
        )

    def test_thinking_has_its_own_price_where_the_map_has_one(self, tmp_path: Path) -> None:
        entry = {
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 2e-6,
            "output_cost_per_reasoning_token": 5e-6,
            "litellm_provider": "openai",
        }
        price = made(tmp_path, m=entry).price("openai/m")
        assert price.cost_pico(Usage(output=100, reasoning=40)) == 60 * 2_000_000 + 40 * 5_000_000

    def test_without_cache_prices_cached_tokens_cost_as_input(self, tmp_path: Path) -> None:
        entry = {
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 2e-6,
            "litellm_provider": "openai",
        }
        price = made(tmp_path, m=entry).price("openai/m")
        usage = Usage(input=1, cache_read=1, cache_write=1, cache_write_1h=1)
        assert price.cost_pico(usage) == 4_000_000

    def test_a_price_of_zero_for_cache_writes_is_a_price(self, book: PriceBook) -> None:
        price = book.price("deepseek/deepseek-v4-pro")
        assert price.cost_pico(Usage(cache_write=1000)) == 0
        assert price.cost_pico(Usage(cache_read=1000)) == 44_000_000

    @pytest.mark.parametrize("field", ["input", "cache_read", "cache_write", "output", "reasoning"])
    def test_a_negative_count_is_refused(self, book: PriceBook, field: str) -> None:
        with pytest.raises(ValueError, match="negative"):
            book.price(OPUS).cost_pico(Usage(**{"output": 5, field: -1}))

    def test_more_thinking_than_output_is_refused(self, book: PriceBook) -> None:
        with pytest.raises(ValueError, match="more thinking than output"):
            book.price(OPUS).cost_pico(Usage(output=1, reasoning=2))

    def test_a_fee_per_request_is_charged(self, book: PriceBook) -> None:
        price = book.price("perplexity/sonar-small-online")
        assert price.cost_pico(Usage()) == 5_000_000_000

    def test_deprecation_is_told(self, book: PriceBook) -> None:
        assert book.price("openai/gpt-5.4-nano").deprecation_date == date(2027, 4, 1)
        assert book.price(OPUS).deprecation_date is None

    @given(USAGES)
    def test_the_worst_case_is_never_passed(self, usage: Usage) -> None:
        price = PriceBook().price(HAIKU)
        cost = price.cost_pico(usage.model_copy(update={"cache_write_1h": 0}))
        assert cost <= price.worst_pico(
            usage.input + usage.cache_read + usage.cache_write, usage.output
        )

    @given(USAGES, COUNTS)
    def test_more_tokens_never_cost_less(self, usage: Usage, more: int) -> None:
        price = PriceBook().price("openai/gpt-5.4")
        added = usage.model_copy(update={"input": usage.input + more})
        assert price.cost_pico(added) >= price.cost_pico(usage)


class TestLongPrompts:
    def test_the_tier_applies_to_the_whole_call(self, book: PriceBook) -> None:
        price = book.price("openai/gpt-5.4")
        assert price.cost_pico(Usage(input=272_000, output=10)) == (
            272_000 * 2_500_000 + 10 * 15_000_000
        )
        assert price.cost_pico(Usage(input=272_001, output=10)) == (
            272_001 * 5_000_000 + 10 * 22_500_000
        )

    def test_cached_tokens_count_towards_the_threshold(self, book: PriceBook) -> None:
        usage = Usage(input=1, cache_read=99_999, cache_write=1, cache_write_1h=1, output=1)
        assert book.price(HAIKU).cost_pico(usage) == (
            500_000 + 99_999 * 50_000 + 625_000 + 1_000_000 + 2_500_000
        )

    def test_an_output_price_alone_may_change(self, tmp_path: Path) -> None:
        entry = {
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 2e-6,
            "output_cost_per_token_above_128k_tokens": 4e-6,
            "litellm_provider": "openai",
        }
        price = made(tmp_path, m=entry).price("openai/m")
        assert price.cost_pico(Usage(input=128_001, output=1)) == 128_001_000_000 + 4_000_000

    def test_the_highest_tier_that_is_passed_counts(self, tmp_path: Path) -> None:
        entry = {
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 0,
            "input_cost_per_token_above_128k_tokens": 2e-6,
            "input_cost_per_token_above_512k_tokens": 3e-6,
            "litellm_provider": "openai",
        }
        price = made(tmp_path, m=entry).price("openai/m")
        for tokens, rate in ((128_000, 1), (128_001, 2), (512_000, 2), (512_001, 3)):
            assert price.cost_pico(Usage(input=tokens)) == tokens * rate * 1_000_000

    def test_xai_counts_from_the_threshold_on(self, tmp_path: Path) -> None:
        entry = {
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 0,
            "input_cost_per_token_above_128k_tokens": 2e-6,
            "litellm_provider": "xai",
        }
        price = made(tmp_path, **{"xai/m": entry}).price("xai/m")
        assert price.cost_pico(Usage(input=128_000)) == 256_000_000_000

    def test_tiered_tables_are_one_tier_for_the_whole_call(self, book: PriceBook) -> None:
        price = book.price("dashscope/qwen-flash")
        assert price.cost_pico(Usage(input=256_000, output=1)) == 256_000 * 50_000 + 400_000
        assert price.cost_pico(Usage(input=256_001, output=1)) == 256_001 * 250_000 + 2_000_000

    def test_every_tier_of_the_map_is_read(self, book: PriceBook) -> None:
        for key, entry in load_map().entries.items():
            marks = [name for name in entry if "_above_" in name and name.endswith("k_tokens")]
            if not marks or key == "sample_spec" or not book.knows(key):
                continue
            for mark in marks:
                if mark.startswith("input_cost_per_token_above"):
                    above = int(mark.rsplit("_above_", 1)[1].split("k_")[0]) * 1000
                    rate = book.price(key).rates(above + 1).input
                    assert float(rate) == pytest.approx(entry[mark] * 1e12, rel=1e-12), key


class TestBatches:
    def test_batch_prices_have_their_own_tiers(self, book: PriceBook) -> None:
        price = book.price(HAIKU)
        short = Usage(input=10, cache_read=10, cache_write=10, output=10)
        assert price.cost_pico(short, batch=True) == 10 * (50_000 + 5_000 + 62_500 + 250_000)
        long = Usage(input=100_001, cache_read=10, cache_write=10, output=10)
        assert price.cost_pico(long, batch=True) == (
            100_001 * 250_000 + 10 * (25_000 + 312_500 + 1_250_000)
        )

    def test_one_hour_writes_get_the_discount_of_the_short_ones(self, book: PriceBook) -> None:
        price = book.price(OPUS)
        assert price.cost_pico(Usage(cache_write_1h=10), batch=True) == 10 * 4_000_000

    def test_a_tier_without_a_batch_price_gets_the_normal_discount(self, tmp_path: Path) -> None:
        entry = {
            "input_cost_per_token": 2e-6,
            "input_cost_per_token_batches": 1e-6,
            "input_cost_per_token_above_200k_tokens": 6e-6,
            "output_cost_per_token": 0,
            "litellm_provider": "gemini",
        }
        price = made(tmp_path, **{"gemini/m": entry}).price("gemini/m")
        assert price.cost_pico(Usage(input=200_001), batch=True) == 200_001 * 3_000_000

    def test_without_a_batch_price_nothing_is_off(self, tmp_path: Path) -> None:
        entry = {
            "input_cost_per_token": 2e-6,
            "output_cost_per_token": 3e-6,
            "litellm_provider": "openai",
        }
        price = made(tmp_path, m=entry).price("openai/m")
        usage = Usage(input=7, cache_read=3, output=5)
        assert price.cost_pico(usage, batch=True) == price.cost_pico(usage)


class TestPolicy:
    def test_a_policy_price_replaces_the_map(self) -> None:
        book = PriceBook({"openai/gpt-5.4": {"input": 1, "output": 2}})
        price = book.price("openai/gpt-5.4")
        assert price.source == "policy"
        assert price.cost_pico(Usage(input=300_000, cache_read=1, output=1)) == (
            300_001 * 1_000_000 + 2_000_000
        )

    def test_it_also_prices_the_dated_model_that_serves(self) -> None:
        book = PriceBook({"openai/gpt-5.4": {"input": 1, "output": 2}})
        assert book.price("openai/gpt-5.4-2026-03-05").source == "policy"
        assert book.price("openai/gpt-5.4-mini").source == "map"

    def test_every_class_can_be_set(self) -> None:
        table = {
            "input": 1,
            "output": 2,
            "cache_read": 0.1,
            "cache_write": 1.25,
            "cache_write_1h": 2,
            "batch_input": 0.5,
            "batch_output": 1,
            "input_above_200k": 3,
        }
        price = PriceBook({"openai/x": table}).price("openai/x")
        usage = Usage(input=10, cache_read=10, cache_write=10, cache_write_1h=10, output=10)
        assert price.cost_pico(usage) == 10 * (
            1_000_000 + 100_000 + 1_250_000 + 2_000_000 + 2_000_000
        )
        assert price.cost_pico(Usage(input=10, output=10), batch=True) == 10 * 1_500_000
        assert price.cost_pico(Usage(input=200_001)) == 200_001 * 3_000_000

    def test_a_window_alone_leaves_the_price(self) -> None:
        book = PriceBook({OPUS: {"max_input_tokens": 200_000}})
        assert book.price(OPUS).source == "map"
        assert book.window(OPUS).max_input == 200_000
        assert book.window(OPUS).max_output == 128_000

    def test_a_price_of_zero_can_be_declared(self) -> None:
        book = PriceBook({"gemini/gemma-3-27b-it": {"input": 0, "output": 0}})
        assert book.price("gemini/gemma-3-27b-it").cost_pico(Usage(input=5, output=5)) == 0

    def test_models_without_money_can_be_given_a_price(self) -> None:
        book = PriceBook({"local/qwen": {"input": 1, "output": 1}})
        assert book.price("local/qwen").cost_pico(Usage(input=1)) == 1_000_000

    def test_a_price_declared_for_a_local_model_is_that_of_the_file_that_serves(self) -> None:
        book = PriceBook({"local/qwen": {"input": 1, "output": 1}})
        served = "local/qwen@1d9614638d18"
        assert book.price(served).cost_pico(Usage(input=1)) == 1_000_000
        assert book.price("local/other@1d9614638d18").cost_pico(Usage(input=1)) == 0

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"input": 1}, '"output" is missing'),
            ({"output": 1}, '"input" is missing'),
            ({"inputs": 1, "output": 1}, 'unknown key "inputs"'),
            ({"input": -1, "output": 1}, '"input" is a number of dollars from 0 up'),
            ({"input": float("nan"), "output": 1}, '"input" is a number of dollars'),
            ({"input": float("inf"), "output": 1}, '"input" is a number of dollars'),
            ({"input": "cheap", "output": 1}, '"input" is a number of dollars'),
            ({"input": True, "output": 1}, '"input" is a number of dollars'),
            ({"max_input_tokens": 1.5}, '"max_input_tokens" is a whole number of tokens'),
            ({"supports_sampling_params": "no"}, '"supports_sampling_params" is true or false'),
        ],
    )
    def test_a_wrong_table_names_the_key(self, table: dict[str, object], message: str) -> None:
        with pytest.raises(PriceError) as caught:
            PriceBook({"openai/x": table})
        assert str(caught.value).startswith('[prices."openai/x"]: ')
        assert message in str(caught.value)

    def test_prices_can_be_shown_and_given_back(self, book: PriceBook) -> None:
        shown = book.price(HAIKU).per_million()
        assert shown["input"] == 0.1
        assert shown["cache_write_1h_above_100k"] == 1.0
        again = PriceBook({HAIKU: shown}).price(HAIKU)
        for tokens in (1, 100_001):
            assert again.rates(tokens) == book.price(HAIKU).rates(tokens)
            assert again.rates(tokens, batch=True) == book.price(HAIKU).rates(tokens, batch=True)


class TestWindowsAndAbilities:
    def test_known_windows(self, book: PriceBook) -> None:
        assert book.window(OPUS) == Window(1_000_000, 128_000, known=True)
        assert book.window("openai/gpt-5.4-nano").max_input == 272_000

    def test_an_unknown_window_is_small_and_says_so(self, book: PriceBook) -> None:
        window = book.window("openai/in-house")
        assert (window.max_input, window.known) == (UNKNOWN_WINDOW, False)

    def test_the_legacy_field_only_makes_an_unknown_window_smaller(self, tmp_path: Path) -> None:
        book = made(tmp_path, a={"max_tokens": 8192}, b={"max_tokens": 10**6})
        assert (book.window("a").max_input, book.window("a").known) == (8192, False)
        assert book.window("b").max_input == UNKNOWN_WINDOW

    def test_abilities_are_read_from_the_map(self, book: PriceBook) -> None:
        assert book.supports(OPUS, "sampling_params") is False
        assert book.supports(OPUS, "supports_native_structured_output") is True
        assert book.supports("openai/gpt-5.4", "response_schema") is True
        assert book.supports("openai/in-house", "response_schema") is None
        assert book.fact(OPUS, "prompt_cache_min_tokens") == 512

    def test_a_policy_can_say_what_a_model_can(self) -> None:
        book = PriceBook({"openai/x": {"supports_response_schema": False}})
        assert book.supports("openai/x", "response_schema") is False

    def test_a_claude_that_is_newer_than_the_map_behaves_as_the_newest(
        self, book: PriceBook
    ) -> None:
        assert book.supports("anthropic/claude-next-9", "sampling_params") is False
        assert book.output_room("anthropic/claude-next-9", 100) == 100 + THINKING_ROOM

    @pytest.mark.parametrize(
        ("model", "room"),
        [
            (OPUS, THINKING_ROOM),
            (HAIKU, THINKING_ROOM),
            ("anthropic/claude-haiku-4-5", 0),
            ("openai/gpt-5.4", 0),  # its default effort is none
            ("openai/gpt-5", THINKING_ROOM),
            ("openai/gpt-4o", 0),
            ("openai/in-house", 0),
        ],
    )
    def test_models_that_think_get_room_for_it(
        self, book: PriceBook, model: str, room: int
    ) -> None:
        assert book.output_room(model, 200) == 200 + room

    def test_the_room_is_a_matter_of_policy_and_ends_at_what_a_model_can_write(self) -> None:
        book = PriceBook({OPUS: {"thinking_room": 5000}})
        assert book.output_room(OPUS, 100) == 5100
        assert book.output_room(OPUS, 127_000) == 128_000

    def test_what_a_client_learns_gives_way_to_the_policy(self) -> None:
        book = PriceBook({"local/a": {"max_input_tokens": 100}})
        for model in ("local/a", "local/b"):
            book.declare(model, {"max_input_tokens": 4096, "max_output_tokens": 4096})
        assert book.window("local/a").max_input == 100
        assert book.window("local/b").max_input == 4096
        assert book.window("local/b").known


def test_a_catalogued_local_model_has_its_own_window() -> None:
    window = PriceBook().window("local/qwen2.5-coder-1.5b-instruct")
    assert window.known
    assert window.max_input == 32_768
    assert not PriceBook().window("local//tmp/some.gguf").known
