"""The fake model that ships with the package."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from consensus.ballots import Usage
from consensus.errors import DataError, FailureClass, ProviderError
from consensus.models._filling import Dice, fill
from consensus.models.protocol import Completion, ModelClient, Part, Request, Turn
from consensus.models.scripted import Behaviour, Reply, Rule, ScriptedClient, load_rules

BALLOT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string", "maxLength": 400},
        "answer": {"type": "string", "enum": ["approve", "reject"]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["rationale", "answer", "confidence"],
    "additionalProperties": False,
}
RANKING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "ranking": {
            "type": "array",
            "items": {"type": "string", "enum": ["x", "y", "z"]},
            "minItems": 3,
            "maxItems": 3,
            "uniqueItems": True,
        }
    },
    "required": ["ranking"],
}
SCORE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "score": {"type": "number", "minimum": 1, "maximum": 10},
    },
}


def request(text: str = "grant it?", **changes: Any) -> Request:
    made = Request("scripted/a", "you judge", (Turn("user", (Part(text),)),))
    return replace(made, **changes)


async def ask(client: ScriptedClient, asked: Request | None = None) -> Completion:
    return await client.complete(asked or request(), timeout_s=10)


async def answered(reply: Any, **changes: Any) -> Any:
    """What a client that always gives this reply says, read as JSON."""
    behaviour: Behaviour = lambda _: reply  # noqa: E731 - the whole of it
    return json.loads((await ask(ScriptedClient(behaviour), request(**changes))).text)


def test_it_is_a_model_client() -> None:
    assert isinstance(ScriptedClient(), ModelClient)


# -- answers by hash -------------------------------------------------------------------------------


async def test_the_same_request_has_the_same_answer_in_every_client() -> None:
    one, other = await ask(ScriptedClient()), await ask(ScriptedClient())
    assert one == other


@pytest.mark.parametrize("change", [{"sample": 1}, {"model": "scripted/b"}, {"system": "x"}])
async def test_another_request_has_its_own_answer(change: dict[str, Any]) -> None:
    client = ScriptedClient()
    assert (await ask(client)).text != (await ask(client, request(**change))).text


async def test_every_choice_is_chosen_sometimes() -> None:
    client = ScriptedClient()
    asked = [request(choices=("yes", "no", "maybe"), sample=i) for i in range(60)]
    said = [(await ask(client, a)).text for a in asked]
    assert set(said) == {"yes", "no", "maybe"}


async def test_a_token_ballot_has_probabilities_whose_largest_is_the_text() -> None:
    for sample in range(30):
        asked = request(choices=("yes", "no", "maybe"), sample=sample)
        completion = await ask(ScriptedClient(), asked)
        shares = completion.choice_probabilities
        assert shares is not None
        assert sum(shares) == pytest.approx(1)
        assert shares[asked.choices.index(completion.text)] == max(shares)
        assert completion.coverage == 1.0


SCHEMAS = st.recursive(
    st.one_of(
        st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True).map(
            lambda v: {"enum": v}
        ),
        st.builds(
            lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
            st.integers(-9, 9),
            st.integers(0, 9),
        ),
        st.builds(
            lambda low, size: {"type": "number", "minimum": low, "exclusiveMaximum": low + size},
            st.integers(-9, 9),
            st.integers(1, 9),
        ),
        st.just({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}),
        st.just({"type": "number", "multipleOf": 0.5, "minimum": 1, "maximum": 3}),
        st.just({"type": "string", "minLength": 30}),
        st.just({"type": "string", "maxLength": 3}),
        st.just({"type": ["string", "null"]}),
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.just({"const": {"a": 1}}),
        st.just({"$ref": "#/$defs/leaf"}),
        st.just({}),
    ),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcde"), inner, max_size=4).map(
            lambda p: {
                "type": "object",
                "properties": p,
                "required": list(p),
                "additionalProperties": False,
            }
        ),
        st.builds(
            lambda items, least: {"type": "array", "items": items, "minItems": least},
            inner,
            st.integers(0, 3),
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda b: {"anyOf": b}),
        inner.map(lambda i: {"allOf": [i]}),
    ),
    max_leaves=8,
)


@given(schema=SCHEMAS, seed=st.integers(0, 2**64))
def test_what_fills_a_schema_satisfies_it(schema: dict[str, Any], seed: int) -> None:
    schema = {**schema, "$defs": {"leaf": {"enum": [1, 2]}}}
    value, _ = fill(schema, Dice(f"{seed:x}"))
    Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("schema", [BALLOT, RANKING, SCORE])
async def test_a_structured_answer_satisfies_its_schema(schema: dict[str, Any]) -> None:
    for sample in range(20):
        asked = request(output_schema=schema, sample=sample)
        completion = await ask(ScriptedClient(), asked)
        Draft202012Validator(schema).validate(json.loads(completion.text))


# -- answers by a function -------------------------------------------------------------------------


async def test_an_answer_takes_its_place_in_the_schema() -> None:
    assert (await answered("reject", output_schema=BALLOT))["answer"] == "reject"


async def test_a_number_is_the_score_and_not_the_confidence() -> None:
    said = await answered(7.5, output_schema=SCORE)
    assert said["score"] == 7.5
    assert 0 <= said["confidence"] <= 1


async def test_a_list_is_the_ranking() -> None:
    assert await answered(["z", "x", "y"], output_schema=RANKING) == {"ranking": ["z", "x", "y"]}


async def test_a_mapping_is_the_whole_answer() -> None:
    assert await answered({"answer": "neither"}, output_schema=BALLOT) == {"answer": "neither"}


async def test_a_reply_may_state_its_confidence() -> None:
    said = await answered(Reply("approve", confidence=0.35), output_schema=BALLOT)
    assert (said["answer"], said["confidence"]) == ("approve", 0.35)


async def test_an_answer_without_a_place_is_said_as_it_is() -> None:
    schema = {"type": "object", "properties": {"answer": {"enum": ["approve", "reject"]}}}
    client = ScriptedClient.answering({"scripted/a": "perhaps"})
    assert (await ask(client, request(output_schema=schema))).text == "perhaps"


async def test_a_choice_answered_has_most_of_the_probability() -> None:
    client = ScriptedClient.answering({"scripted/a": "no"})
    completion = await ask(client, request(choices=("yes", "no", "maybe")))
    assert completion.text == "no"
    assert completion.choice_probabilities == pytest.approx((0.05, 0.9, 0.05))


async def test_probabilities_may_be_given() -> None:
    client = ScriptedClient(lambda _: Reply(probabilities={"yes": 0.2, "no": 0.6}))
    completion = await ask(client, request(choices=("yes", "no", "maybe")))
    assert completion.text == "no"
    assert completion.choice_probabilities == pytest.approx((0.2, 0.6, 0.2))


async def test_a_choice_off_the_list_has_no_probabilities() -> None:
    client = ScriptedClient.answering({"scripted/a": "what?"})
    completion = await ask(client, request(choices=("yes", "no")))
    assert (completion.text, completion.choice_probabilities) == ("what?", None)


async def test_text_is_said_word_for_word() -> None:
    client = ScriptedClient(lambda _: Reply(text="{broken"))
    assert (await ask(client, request(output_schema=BALLOT))).text == "{broken"


async def test_a_completion_is_given_as_it_is() -> None:
    whole = Completion("x", "scripted/z", Usage(input=1, output=2))
    assert await ask(ScriptedClient(lambda _: whole)) is whole


async def test_an_exception_is_raised_whether_returned_or_raised() -> None:
    wanted = ProviderError("no", failure="auth")

    def raising(_: Request) -> str:
        raise wanted

    behaviours: tuple[Behaviour, ...] = (lambda _: wanted, raising)
    for behaviour in behaviours:
        with pytest.raises(ProviderError) as caught:
            await ask(ScriptedClient(behaviour))
        assert caught.value is wanted


async def test_a_behaviour_may_be_async() -> None:
    async def behave(asked: Request) -> str:
        await asyncio.sleep(0)
        return asked.model

    assert (await ask(ScriptedClient(behave))).text == "scripted/a"


async def test_a_behaviour_may_leave_it_to_the_hash() -> None:
    assert await ask(ScriptedClient(lambda _: None)) == await ask(ScriptedClient())


async def test_a_tuple_of_replies_is_given_one_by_one() -> None:
    client = ScriptedClient.answering({"scripted/a": ("one", "two")})
    assert [(await ask(client)).text for _ in range(3)] == ["one", "two", "two"]


# -- failures, latency, usage ----------------------------------------------------------------------


@pytest.mark.parametrize("failure", get_args(FailureClass))
async def test_every_class_of_failure_can_be_had(failure: FailureClass) -> None:
    client = ScriptedClient(lambda _: Reply(failure=failure, status=418, retry_after_s=2))
    with pytest.raises(ProviderError) as caught:
        await ask(client)
    error = caught.value
    assert (error.failure, error.status, error.retry_after_s) == (failure, 418, 2)
    assert error.retryable == (
        failure in {"timeout", "overloaded", "rate_limited"} or error.retryable
    )


@pytest.mark.parametrize(
    ("failure", "again"),
    [("timeout", True), ("overloaded", True), ("auth", False), ("request_too_large", False)],
)
async def test_a_failure_says_whether_it_is_worth_repeating(
    failure: FailureClass, again: bool
) -> None:
    with pytest.raises(ProviderError) as caught:
        await ask(ScriptedClient(lambda _: Reply(failure=failure)))
    assert caught.value.retryable == again


async def test_an_answer_takes_the_latency_asked_for() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    completion = await ask(ScriptedClient(latency_s=0.03))
    assert loop.time() - started >= 0.029
    assert completion.latency_s == 0.03


async def test_an_answer_slower_than_the_timeout_is_a_timeout() -> None:
    client = ScriptedClient(lambda _: Reply(latency_s=30))
    with pytest.raises(ProviderError) as caught:
        await client.complete(request(), timeout_s=0.01)
    assert caught.value.failure == "timeout"
    assert client.in_flight == 0


async def test_a_token_is_four_bytes() -> None:
    client = ScriptedClient(lambda _: "12345")
    asked = request("x" * 398, system="")  # and two bytes between the parts
    assert (await ask(client, asked)).usage == Usage(input=100, output=2)
    assert await client.count_tokens(asked) == 100


async def test_usage_served_model_and_finish_may_be_given() -> None:
    reply = Reply("x", usage=Usage(input=7), served_model="scripted/z", finish="length")
    completion = await ask(ScriptedClient(lambda _: reply))
    assert completion.usage == Usage(input=7)
    assert (completion.served_model, completion.finish) == ("scripted/z", "length")


async def test_it_remembers_what_it_was_asked() -> None:
    client = ScriptedClient(keep=2, latency_s=0.005)
    await asyncio.gather(*(ask(client, request(sample=i)) for i in range(4)))
    assert [r.sample for r in client.requests] == [2, 3]
    assert (client.calls, client.peak, client.in_flight) == (4, 4, 0)


# -- a file of rules -------------------------------------------------------------------------------

TOML = """
version = 1
[[rules]]
model = "scripted/strict"
answer = "reject"
[[rules]]
contains = "unused"
times = 1
failure = "rate_limited"
retry_after_s = 1.5
[[rules]]
matches = "bought (1|2)\\\\d days"
answer = "approve"
confidence = 0.8
served_model = "scripted/a-2"
usage = { input = 50, output = 5 }
"""


async def test_the_first_rule_that_fits_answers(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(TOML)
    client = ScriptedClient.from_file(tmp_path / "rules.toml")
    strict = request("unused", model="scripted/strict", output_schema=BALLOT)
    assert json.loads((await ask(client, strict)).text)["answer"] == "reject"
    bought = request("unused, bought 12 days ago", output_schema=BALLOT)
    with pytest.raises(ProviderError) as caught:
        await ask(client, bought)
    assert caught.value.retry_after_s == 1.5
    completion = await ask(client, bought)  # the second rule was for one request only
    said = json.loads(completion.text)
    assert (said["answer"], said["confidence"]) == ("approve", 0.8)
    assert completion.served_model == "scripted/a-2"
    assert completion.usage == Usage(input=50, output=5)


async def test_a_request_that_no_rule_fits_is_answered_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(TOML)
    client = ScriptedClient.from_file(tmp_path / "rules.toml")
    assert await ask(client) == await ask(ScriptedClient())


def test_rules_may_be_json(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text('{"rules": [{"answer": ["b", "a"]}]}')
    assert load_rules(tmp_path / "rules.json") == (Rule(answer=["b", "a"]),)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[[rules]\n", "cannot be parsed"),
        ("", '"rules"'),
        ("rules = 3", '"rules"'),
        ('[[rules]]\nanser = "x"', '"rules.0.anser"'),
        ('[[rules]]\nfailure = "boom"', '"rules.0.failure"'),
        ("[[rules]]\nconfidence = 2.0", '"rules.0.confidence"'),
        ('[[rules]]\nmatches = "("', "not a regular expression"),
        ('[[rules]]\ntext = "a"\nanswer = "b"', "more than one of"),
        ("[[rules]]\nprobabilities = { a = 7.0 }", "from 0 to 1"),
        ("[[rules]]\ntimes = 0", '"rules.0.times"'),
        ("version = 2\nrules = []", '"version"'),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, text: str, wrong: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load_rules(path)
    assert str(path) in str(caught.value)
    assert wrong in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "rules.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_rules(path)
