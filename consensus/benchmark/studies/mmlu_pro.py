"""mmlu_pro: ten options, one answer of each of many models."""

from __future__ import annotations

from consensus.benchmark.studies.declared import (
    HALVES,
    LEARN,
    SEARCH_TEXT,
    Study,
    Table,
    alone,
    row,
)

__all__ = ["AUTO", "STUDY"]

_L70 = "Meta-Llama-3_1-70B-Instruct"
_MMLU = {
    "gemini-3.1-pro": 0.859,
    "gpt4o-may24": 0.727,
    "gemini-1.5-pro-002": 0.706,
    "gemini-1.5-flash-002": 0.646,
    _L70: 0.635,
    "DeepSeek-Coder-V2": 0.556,
    "jamba-1.5-large": 0.506,
    "Qwen1.5-110B": 0.502,
    "Meta-Llama-3_1-8B-Instruct": 0.447,
    "Mixtral-8x7B-Instruct-v0.1": 0.429,
    "Phi-3-mini-4k-instruct": 0.426,
    "mathstral-7B": 0.426,
    "c4ai-command-r-v01": 0.376,
    "Llama-2-7b-hf": 0.187,
}
_MMLU_REST = (
    "DeepSeek-Coder-V2,Llama-2-13b-hf,Llama-2-70b-hf,Llama-2-7b-hf,Meta-Llama-3-70B,"
    "Meta-Llama-3-8B,Meta-Llama-3_1-70B,Meta-Llama-3_1-70B-Instruct,Meta-Llama-3_1-8B,"
    "Meta-Llama-3_1-8B-Instruct,Mistral-7B-Instruct-v0.1,Mistral-7B-Instruct-v0.2,"
    "Mistral-7B-v0.1,Mistral-7B-v0.2-hf,Mixtral-8x7B-Instruct-v0.1,Mixtral-8x7B-v0.1,"
    "Phi-3-mini-4k-instruct,Qwen1.5-110B,Qwen1.5-72B-Chat,Qwen1.5-7B-Chat,Yi-34B,Yi-6B,"
    "Yi-6b-Chat,c4ai-command-r-v01,deepseek-v2,gemma-7b,jamba-1.5-large,mathstral-7B"
)
_WEAK = (
    "Meta-Llama-3_1-8B-Instruct,mathstral-7B,Mixtral-8x7B-Instruct-v0.1,Phi-3-mini-4k-instruct,"
    "c4ai-command-r-v01"
)
_MID = f"gemini-1.5-flash-002,{_L70},jamba-1.5-large,Qwen1.5-110B,Meta-Llama-3-70B"
_THREE = f"gemini-1.5-flash-002,{_L70},DeepSeek-Coder-V2"
STUDY = Study(
    "mmlu_pro",
    "mmlu_pro",
    "mmlu_pro: ten options",
    "No prices are known. The published figures divide by all stable cases, so that a missing "
    "answer is a wrong one: without `--complete`.",
    tuple(alone(m, None, p) for m, p in _MMLU.items()),
    tables=(
        Table(
            "Crowds, unweighted, against the best of their members",
            (
                row("vote, 28 models", _L70, _MMLU_REST),
                row("vote, 5 small", "Meta-Llama-3_1-8B-Instruct", _WEAK),
                row("vote, 5 middling", "gemini-1.5-flash-002", _MID),
                row("vote, 3", "gemini-1.5-flash-002", _THREE),
            ),
        ),
        Table(
            "Panels against a frontier model",
            (
                row("vote, 28 models", "gpt4o-may24", _MMLU_REST),
                row("vote, 5 small", "gpt4o-may24", _WEAK),
                row("vote, 5 middling", "gpt4o-may24", _MID),
                row("vote, 3", "gpt4o-may24", _THREE),
                row("weighted (learned), 5", "gpt4o-may24", _MID, "weighted", **LEARN),
                row("blocks (learned), 5", "gpt4o-may24", _MID, "blocks", **LEARN),
                row("cascade", "gpt4o-may24", f"{_THREE},gpt4o-may24", "cascade"),
                row("cascade", "gemini-3.1-pro", f"{_THREE},gemini-3.1-pro", "cascade"),
            ),
        ),
    ),
)

AUTO = Study(
    "mmlu_pro-auto",
    "mmlu_pro",
    "mmlu_pro: the searched strategy",
    f"{SEARCH_TEXT} No prices are known, so the goal is quality; the frontier is the best member.",
    tables=(
        Table(
            "auto against the best member",
            tuple(
                row(label, best, panel, "auto", goal="quality", **HALVES)
                for label, best, panel in (
                    ("auto, 3", "gemini-1.5-flash-002", _THREE),
                    ("auto, 5 middling", "gemini-1.5-flash-002", _MID),
                    ("auto, 5 small", "Meta-Llama-3_1-8B-Instruct", _WEAK),
                )
            ),
        ),
    ),
    searches=True,
)
