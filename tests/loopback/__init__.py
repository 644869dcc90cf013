"""A provider on the loopback interface: Anthropic Messages and OpenAI Chat Completions.

It answers the real SDKs as the real providers do, faults included, does what a script says, and
counts what it was asked and what it billed. See ``design/providers.md``.
"""

from tests.loopback.accounting import Entry, PrefixCache
from tests.loopback.asking import RequestInfo
from tests.loopback.replies import Reply, Rule, Script, example
from tests.loopback.server import LoopbackProvider

__all__ = [
    "Entry",
    "LoopbackProvider",
    "PrefixCache",
    "Reply",
    "RequestInfo",
    "Rule",
    "Script",
    "example",
]
