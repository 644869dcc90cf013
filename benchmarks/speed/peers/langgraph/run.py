"""LangGraph: ten seats as a map-reduce with ``Send``, ``ChatOpenAI`` with structured output."""

import operator
from typing import Annotated, Any, Literal, TypedDict

import httpx2
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from openai import DefaultAsyncHttpxClient
from pydantic import BaseModel

from benchmarks.speed import arm

WORK = arm.workload()


class Ballot(BaseModel):
    rationale: str
    answer: Literal["approve", "reject"]
    confidence: float


class State(TypedDict):
    texts: list[str]
    answers: Annotated[list[str], operator.add]
    outcome: str


JUDGE = ChatOpenAI(
    model=WORK.openai_model,
    base_url=f"{WORK.url}/v1",
    api_key="sk-loopback",
    max_retries=0,
    timeout=600,
    http_async_client=DefaultAsyncHttpxClient(limits=httpx2.Limits(**arm.POOL)),
    max_tokens=1024,
).with_structured_output(Ballot)


async def seat(state: dict[str, str]) -> dict[str, Any]:
    ballot = await JUDGE.ainvoke([("system", WORK.system), ("human", state["text"])])
    return {"answers": [ballot.answer]}


def fan_out(state: State) -> list[Send]:
    return [Send("seat", {"text": text}) for text in state["texts"]]


def vote(state: State) -> dict[str, str]:
    return {"outcome": arm.majority(state["answers"])}


BUILDER = StateGraph(State)
BUILDER.add_node("seat", seat)
BUILDER.add_node("vote", vote)
BUILDER.add_conditional_edges(START, fan_out, ["seat"])
BUILDER.add_edge("seat", "vote")
BUILDER.add_edge("vote", END)
GRAPH = BUILDER.compile()


async def decide(case: int) -> str:
    state = await GRAPH.ainvoke({"texts": WORK.texts(case), "answers": []})
    return str(state["outcome"])


arm.serve(arm.plain(decide))
