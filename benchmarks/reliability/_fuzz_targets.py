"""What is fuzzed: every reader of something that a stranger wrote, with a few honest examples.

A target takes the bytes of one reply or file. It may raise a ``ConsensusError`` and nothing else.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from consensus.models.protocol import Completion, Request, Turn
from consensus.tasks import Approve, Choose, Compare, Generate, Message, Rank, Score, Task

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        read: gives it the bytes; ``pick`` chooses between variants (task, file of a folder).
        seeds: what an honest stranger would send.
        text: whether mutations of JSON's structure make no sense.
    """

    read: Callable[[bytes, int], object]
    seeds: Sequence[bytes]
    text: bool = False


def _tasks() -> list[Task]:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name"],
    }
    return [
        Approve(type="t", subject="a text", criteria="some rule"),
        Choose(type="t", subject="a text", options=["billing", "shipping", "a very long one" * 9]),
        Compare(type="t", a="one", b="two"),
        Rank(type="t", items=["one", "two", "three"]),
        Score(type="t", subject="a text", scale=(1, 5)),
        Generate(type="t", messages=(Message(role="user", content="Hello"),)),
        Generate(type="t", messages=(Message(role="user", content="Hello"),), schema=schema),
    ]


def _usage(text: str) -> Any:
    from consensus.ballots import Usage

    return Completion(text=text, served_model="x/m", usage=Usage())


@cache
def _seats() -> list[tuple[Task, Any]]:
    from consensus.panel.seats import Seat

    return [
        (task, Seat(0, "x/m", "plain", tuple(range(len(task.options))), ballot))
        for task in _tasks()
        for ballot in ("structured", "token", "scores")
    ]


def ballots(data: bytes, pick: int) -> None:
    from dataclasses import replace

    from consensus.panel.parsing import read_ballot

    task, seat = _seats()[pick % len(_seats())]
    reply = _usage(data.decode("utf-8", "replace"))
    if pick >= 128:
        reply = replace(reply, finish="length")
    reading = read_ballot(task, seat, reply)
    if task.options and not isinstance(task, Rank):
        given = reading.answer if isinstance(reading.answer, tuple) else (reading.answer,)
        assert set(given) <= set(task.options), "an answer that was not offered"


def tape(data: bytes, pick: int) -> None:
    from consensus.models.tape import Tape, completion_from_json
    from consensus.panel.parsing import read_ballot

    if pick % 2:
        file = _file("tape.jsonl", data)
        with Tape(file, "replay") as tape:
            for key in list(tape._index):
                tape.lookup(key)
        return
    completion = completion_from_json(data)
    task, seat = _seats()[(pick // 2) % len(_seats())]
    read_ballot(task, seat, completion)


class _Response:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.headers: dict[str, str] = {}


def _request(*, choices: bool = True) -> Request:
    words = ("approve", "reject") if choices else ()
    return Request("anthropic/claude-haiku-5-5", "", (Turn("user", ()),), choices=words)


@cache
def _prices() -> Any:
    from consensus.models.prices import PriceBook

    return PriceBook()


@cache
def _anthropic(*, batches: bool = False) -> Any:
    from consensus.models.anthropic_client import AnthropicClient
    from consensus.models.batch.anthropic import AnthropicBatches

    return (AnthropicBatches if batches else AnthropicClient)(api_key="x", prices=_prices())


def anthropic(data: bytes, pick: int) -> None:
    from consensus.models.anthropic_client import _Asked
    from consensus.models.batch.wire import Outcome

    if pick % 3 == 2:
        outcome = _json(data)
        kind: Any = ("answered", "errored")[pick // 3 % 2]
        _anthropic(batches=True).read(_request(), Outcome(kind, "b", outcome))
        return
    asked = _Asked(("text", "tool", "native")[pick // 3 % 3], {})  # type: ignore[arg-type]
    _anthropic()._read(_request(), asked, _Response(data), 0.1)


def chat(data: bytes, pick: int) -> None:
    from consensus.models.openai_client import _read
    from consensus.panel.parsing import read_ballot

    request = Request("openai/gpt", "", (Turn("user", ()),), choices=("approve", "reject"))
    task, seat = _seats()[pick % 3]
    read_ballot(task, seat, _read(request, _Response(data), 0.1))  # type: ignore[arg-type]


@cache
def _openai() -> Any:
    from consensus.models.batch.openai import OpenAIBatches

    return OpenAIBatches(api_key="x", prices=_prices())


def batches(data: bytes, pick: int) -> None:
    from consensus.errors import ProviderError
    from consensus.models.batch.openai import _outcomes

    request = Request("openai/gpt", "", (Turn("user", ()),))
    for _, outcome in _outcomes(data, "b", canceled=bool(pick % 2)):
        try:
            _openai().read(request, outcome)
        except ProviderError:
            continue


def headers(data: bytes, pick: int) -> None:
    from consensus.models.errors_map import provider_error, rate_headers

    found = dict(
        line.partition(":")[::2] for line in data.decode("latin-1").split("\n") if ":" in line
    )
    rate_headers(found)
    provider_error("x", model="x/m", status=400 + pick, headers=found, prose=found.get("p"))


def embeddings(data: bytes, pick: int) -> None:
    from types import SimpleNamespace

    from consensus.models._hosted_embedding import embedding_of

    given = _json(data)
    if isinstance(given, dict):
        embedding_of(Request("x/e", "", (Turn("user", ()),)), SimpleNamespace(**given), 0.1)


def policy(data: bytes, _: int) -> None:
    from consensus.policy.load import load_policy

    load_policy(_file("policy.toml", data))


def audit(data: bytes, _: int) -> None:
    from consensus.policy.audit.model import load_audit

    load_audit(_file("audit.toml", data))


def keys(data: bytes, pick: int) -> None:
    from consensus.models.scripted import load_rules
    from consensus.server.keys import load_keys

    if pick % 2:
        load_rules(_file("rules.toml", data))
    else:
        load_keys(_file("keys.toml", data))


def suites(data: bytes, pick: int) -> None:
    from consensus.benchmark.suites import load_suite

    folder = _file("suite/suite.toml", _SUITE).parent
    _file("suite/cases.jsonl", _CASES)
    _file(f"suite/{('cases.jsonl', 'suite.toml')[pick % 2]}", data)
    load_suite(folder)


def calibrations(data: bytes, pick: int) -> None:
    from consensus.benchmark.proposals.model import load_proposal
    from consensus.orchestrators.calibration import load_calibration
    from consensus.policy.classify.linear import load_classifier

    readers: list[Callable[[Path], object]] = [load_calibration, load_classifier, load_proposal]
    name = ("calibration.json", "classifier.json", "proposal.json")[pick % 3]
    readers[pick % 3](_file(name, data))


def recorded(data: bytes, pick: int) -> None:
    from consensus.benchmark.recorded import load_run
    from consensus.benchmark.replay_pairs import recorded_rankings

    files = {
        "answers.csv": _ANSWERS,
        "cases.jsonl": _RECORDED,
        "prices.json": b'{"m": {"input": 1, "output": 2}}',
    }
    name = list(files)[pick % 3]
    folder = _file("recorded/answers.csv", _ANSWERS).parent
    for each, honest in files.items():
        _file(f"recorded/{each}", data if each == name else honest)
    if pick >= 192:
        import gzip

        _file("pairs/answers.csv.gz", gzip.compress(_ANSWERS if pick % 2 else data, 0))
        _file("pairs/rankings.jsonl.gz", gzip.compress(data if pick % 2 else _RECORDED, 0))
        recorded_rankings(Path(_folder()) / "pairs")
    else:
        load_run(folder)


def runs(data: bytes, pick: int) -> None:
    from consensus.benchmark.run_format.run import RecordedRun

    files = {"manifest.json": _MANIFEST, "cases.jsonl": _RUN_CASES, "answers.jsonl": _RUN_ANSWERS}
    name = list(files)[pick % 3]
    for each, honest in files.items():
        file = _file(f"run/{each}", data if each == name else honest)
    RecordedRun.load(file.parent)


def logs(data: bytes, _: int) -> None:
    from consensus.benchmark.importing.building import build
    from consensus.benchmark.importing.grouping import find_groups
    from consensus.benchmark.importing.reading import read_logs
    from consensus.benchmark.run_format.report import ImportReport

    report = ImportReport()
    found = read_logs([_file("logs.jsonl", data)], report)
    find_groups(found)
    assert build


def tasks(data: bytes, _: int) -> None:
    from consensus.jobs import read_tasks

    for line in read_tasks(_file("tasks.jsonl", data), task_type="t", row={"kind": "approve"}):
        assert (line.task is None) != (line.error is None)


def bodies(data: bytes, pick: int) -> None:
    from pydantic import ValidationError

    from consensus.errors import TaskError
    from consensus.server.bodies import json_of
    from consensus.server.chat import fields_of
    from consensus.server.errors import ApiError
    from consensus.server.shapes import ChatRequest, FeedbackBody
    from consensus.tasks import parse_task

    try:
        given = json_of(data, max_depth=32)
        if pick % 3 == 0:
            parse_task(given)
        elif pick % 3 == 1:
            FeedbackBody.model_validate(given)
        else:
            row = {"kind": ("approve", "compare", "rank", "generate")[pick // 3 % 4]}
            parse_task(fields_of(ChatRequest.model_validate(given), row).fields)
    except (ApiError, ValidationError) as error:  # the endpoint answers 4xx to both
        raise TaskError("refused") from error


def prompts(data: bytes, pick: int) -> None:
    from consensus.panel._shelf import Shelf

    names = ("framings/mine.md", "templates/choose.md", "system.md", "debate.md", "scores.md")
    folder = Path(_folder()) / f"prompts{pick % 5}"
    _file(f"prompts{pick % 5}/{names[pick % 5]}", data)
    Shelf().add(folder)


def sheets(data: bytes, _: int) -> None:
    from consensus.benchmark.spreadsheet import read_csv

    read_csv(_file("labels.csv", data), ["id", "label"])


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


@cache
def _folder() -> str:
    made = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _file(name: str, data: bytes) -> Path:
    path = Path(_folder()) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


_SUITE = b"""version = 1
name = "s"
[types.t]
kind = "choose"
options = ["one", "two"]
criteria = "pick"
weight = 2.0
[types.r]
kind = "score"
scale = [1, 5]
[types.r.oracle]
kind = "numeric"
absolute = 1.0
[types.p.oracle]
kind = "json_schema"
schema = { type = "object" }
[types.p]
kind = "generate"
system = "short"
"""
_POLICY = b"""version = 1
[prices."x/a"]
input = 0.1
output = 0.4
[providers.x]
base_url = "http://127.0.0.1:1/v1"
concurrency = 3
[tiers]
small = ["x/a"]
large = ["x/b"]
[prices."x/b"]
input = 1.0
output = 4.0
[defaults]
tier = "small"
[oracles.o]
kind = "numeric"
absolute = 0.5
[tasks.t]
kind = "approve"
strategy = "vote"
seats = 3
quorum = 2
losses = { false_approve = 20, false_reject = 1 }
stop = { rule = "margin" }
escalate_to = ["large"]
"""
_CASES = _lines(
    {"id": "a", "type": "t", "subject": "text", "label": "one", "tags": ["adversarial"]},
    {"id": "b", "type": "r", "subject": "text", "reference": 3, "complexity": "high"},
)
_ANSWERS = (
    b"case_id,label,options,model,variant,sample_idx,answer,confidence,scores_by_letter\n"
    b"c1,A,A|B,m,base,0,A,0.9,5;3\nc1,A,A|B,n,base,0,A/B,,\n"
)
_RECORDED = _lines(
    {"case_id": "c1", "label": "A", "options": "A|B", "task_kind": "choice"},
    {"case_id": "c2", "human_net_wins": {"one": 2, "two": -2}, "label": "B", "options": ["A", "B"]},
)


def _recorded_run(name: str) -> bytes:
    """The beginning of a file of the recorded run that is in the repository."""
    import gzip

    file = ROOT / "benchmarks/recorded/judgement-local" / name
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return data if name == "manifest.json" else b"".join(data.splitlines(keepends=True)[:4])


_MANIFEST = _recorded_run("manifest.json")
_RUN_CASES = _recorded_run("cases.jsonl")
_RUN_ANSWERS = _recorded_run("answers.jsonl.gz")

_COMPLETION = {
    "text": '{"answer": "approve"}',
    "served_model": "x/m",
    "usage": {"input": 3, "output": 1},
    "finish": "stop",
    "latency_s": 0.1,
    "choice_probabilities": [0.7, 0.3],
    "coverage": 0.9,
}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "model": "claude-haiku-5-5",
    "content": [{"type": "text", "text": '{"answer": "approve"}'}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 9, "output_tokens": 4, "cache_creation": {}},
}
_CHAT = {
    "id": "c",
    "model": "gpt",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "approve", "refusal": None},
            "finish_reason": "stop",
            "logprobs": {
                "content": [
                    {
                        "token": "approve",
                        "logprob": -0.1,
                        "top_logprobs": [{"token": "reject", "logprob": -3.0}],
                    }
                ]
            },
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}
_KEY = "0" * 64
_CALIBRATION = {
    "format": 1,
    "task_type": "t",
    "kind": "approve",
    "options": ["approve", "reject"],
    "models": ["x/m"],
    "seats": [1],
    "cases": 9,
    "fit": {"family": "mean", "accuracy": [0.8], "bias": [[0.5, 0.5]]},
    "stages": [{"models": ["x/m"], "cases": 9, "misses": [0.1, 0.2]}],
}
_CLASSIFIER = {
    "format": "consensus-classifier",
    "kind": "tfidf",
    "classes": ["a", "b"],
    "threshold": 0.5,
    "vocabulary": ["x", "y"],
    "idf": [1.0, 2.0],
    "coefficients": [[0.1, 0.2], [0.3, 0.4]],
    "intercepts": [0.0, 0.1],
    "trained": {
        **dict.fromkeys(("cases", "folds", "accepted"), 9),
        **dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high", "majority"), 0.9),
        **dict.fromkeys(("target", "delta", "coverage", "accepted_accuracy"), 0.9),
        **dict.fromkeys(("accepted_low", "accepted_high", "log_loss"), 0.9),
    },
}
_LOG = {
    "id": "1",
    "model": "gpt",
    "messages": [{"role": "user", "content": "Is it spam?"}],
    "response": {"choices": [{"message": {"content": "yes"}}]},
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
_SPAN = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "name": "chat gpt",
                            "startTimeUnixNano": "1",
                            "endTimeUnixNano": "5",
                            "attributes": [
                                {
                                    "key": "gen_ai.request.model",
                                    "value": {"stringValue": "gpt"},
                                },
                                {
                                    "key": "gen_ai.input.messages",
                                    "value": {"stringValue": "[]"},
                                },
                            ],
                        }
                    ]
                }
            ]
        }
    ]
}
_ASKED = {
    "model": "t",
    "messages": [
        {"role": "system", "content": "rule"},
        {"role": "user", "content": [{"type": "text", "text": '{"a": "x", "b": "y"}'}]},
    ],
    "temperature": 0.5,
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
}


def _shipped(*names: str) -> list[bytes]:
    return [(ROOT / name).read_bytes() for name in names]


TARGETS: dict[str, Target] = {
    "ballots": Target(
        ballots,
        [
            b'{"rationale": "r", "answer": "approve", "confidence": 0.9}',
            b'{"rationale": "r", "scores": {"approve": 9, "reject": 2}}',
            b'{"answer": ["item-1", "item-2", "item-3"]}',
            b'<think>no</think>Sure.\n```json\n{"answer": "first",}\n```',
            b"ANSWER: billing\n",
            b'{"name": "x", "age": 3}',
            b"4.5/5",
        ],
    ),
    "tape": Target(
        tape,
        [
            _lines(_COMPLETION).strip(),
            _lines({"key": _KEY, "v": 1, "cost_pico": 1, "completion": _COMPLETION}),
        ],
    ),
    "anthropic": Target(
        anthropic,
        [
            json.dumps(_MESSAGE).encode(),
            json.dumps({"message": _MESSAGE}).encode(),
            json.dumps({"error": {"error": {"type": "api_error", "message": "m"}}}).encode(),
            json.dumps(
                {**_MESSAGE, "content": [{"type": "tool_use", "name": "answer", "input": {}}]}
            ).encode(),
        ],
    ),
    "chat": Target(chat, [json.dumps(_CHAT).encode()]),
    "batches": Target(
        batches,
        [
            _lines({"custom_id": "a", "response": {"status_code": 200, "body": _CHAT}}),
            _lines({"custom_id": "a", "error": {"code": "batch_expired"}}),
            _lines({"custom_id": "a", "response": {"status_code": 400, "body": {"error": {}}}}),
        ],
    ),
    "headers": Target(
        headers,
        [
            b"retry-after: 3\nx-ratelimit-remaining: 9",
            b"retry-after: Wed, 21 Oct 2026 07:28:00 GMT",
            b"retry-after-ms: 20.5",
        ],
        text=True,
    ),
    "embeddings": Target(
        embeddings,
        [b'{"model": "e", "data": [{"embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 3}}'],
    ),
    "policy": Target(
        policy,
        [*_shipped("strategies/defaults.toml", "strategies/examples.toml"), _POLICY],
        text=True,
    ),
    "audit": Target(
        audit,
        [
            b"""version = 1
[tasks.t]
kind = "approve"
complexity = "low"
consequence = "low"
structured = true
monthly_volume = 3
input_tokens = { p50 = 1, p95 = 2 }
output_tokens = { p50 = 1, p95 = 2 }
"""
        ],
        text=True,
    ),
    "keys": Target(
        keys,
        [
            b'[keys.00000000]\nsha256 = "' + _KEY.encode() + b'"\ntypes = ["*"]\n',
            b'[[rules]]\nanswer = "approve"\n',
        ],
        text=True,
    ),
    "suites": Target(suites, [_SUITE, _CASES]),
    "calibrations": Target(
        calibrations,
        [json.dumps(_CALIBRATION).encode(), json.dumps(_CLASSIFIER).encode()],
    ),
    "recorded": Target(recorded, [_ANSWERS, _RECORDED, b'{"m": {"input": 1, "output": 2}}']),
    "runs": Target(runs, [_MANIFEST, _RUN_CASES, _RUN_ANSWERS]),
    "logs": Target(logs, [_lines(_LOG), _lines(_SPAN)]),
    "tasks": Target(
        tasks,
        [
            _lines({"id": "1", "subject": "text", "criteria": "rule"}),
            _lines({"kind": "generate", "messages": [{"role": "user", "content": "x"}]}),
        ],
    ),
    "bodies": Target(
        bodies,
        [
            json.dumps(_ASKED).encode(),
            b'{"type": "t", "kind": "choose", "subject": "s", "options": ["a", "b"]}',
            b'{"receipt_id": "r", "label": "approve", "by": "me"}',
        ],
    ),
    "prompts": Target(
        prompts,
        _shipped("prompts/framings/plain.md", "prompts/templates/choose.md", "prompts/debate.md"),
        text=True,
    ),
    "sheets": Target(sheets, [b"id,label\na,b\n", b'id;label\n"a";"b"\n'], text=True),
}
