"""The policy as a configuration of LiteLLM's router, for those who run its proxy.

One model group a task type, so that a caller says ``model="refund_approval"`` and the table decides
who answers; one a tier, and one for each model that something falls back to. What a router of
single calls cannot do (panels, losses, escalation on quality, calibration) is listed in
:attr:`LiteLLMExport.left_out` and stands as comments in the file.

Keys are references (``os.environ/NAME``); no value of any variable is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from consensus.errors import PolicyError
from consensus.models.prices import PriceBook
from consensus.policy.resolve import Hop
from consensus.policy.route import Route, route_type
from consensus.policy.rows import TaskRow
from consensus.policy.settings import Price, ProviderSettings
from consensus.policy.table import PolicyTable

__all__ = ["DEFAULT_GROUP", "LiteLLMExport", "export_litellm"]

DEFAULT_GROUP = "default"
"""The group of task types without a row; ``defaults`` of the policy."""

_OURS = ("local/", "scripted/")
"""Models that run inside this library: no proxy can reach them."""

_KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
"""Variables that LiteLLM reads by itself for every provider; named where everybody knows them."""

_RATES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}

_RETRIES = 3
"""Of a provider whose settings name no ``max_attempts``: the gateway makes four attempts."""


@dataclass(frozen=True, slots=True)
class LiteLLMExport:
    """A router's configuration.

    Attributes:
        config: ``model_list`` and ``router_settings``, as LiteLLM's ``config.yaml`` has them.
        left_out: what the policy says and a router cannot do, each in one line.
    """

    config: dict[str, Any]
    left_out: tuple[str, ...]
    version: str

    def to_yaml(self) -> str:
        """The file, with what was left out as comments at its head."""
        import yaml

        head = [
            f"LiteLLM router configuration of consensus policy {self.version}.",
            "Made by `consensus policy export --litellm`: change the policy, not this file.",
        ]
        if self.left_out:
            head += ["", "Not in it, since a router makes one call and judges no answer:"]
            head += [f"  - {line}" for line in self.left_out]
        body = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True, width=100)
        return "".join(f"# {line}".rstrip() + "\n" for line in head) + "\n" + body


def export_litellm(table: PolicyTable, prices: PriceBook | None = None) -> LiteLLMExport:
    """Turn a policy into a router's configuration.

    Raises:
        PolicyError: nothing in it can be reached through LiteLLM.
    """
    made = _Export(table, prices or PriceBook(overrides=table.price_overrides()))
    names: list[tuple[str, str]] = [(name, name) for name in table.tasks]
    if table.defaults.tier is not None or table.defaults.models is not None:
        names.append((DEFAULT_GROUP, ""))
    for group, task_type in names:
        made.add_row(group, route_type(table, task_type))
    for tier, models in table.tiers.items():
        made.add_tier(tier, models)
    made.add_models()
    if not made.model_list:
        raise PolicyError(
            "no model of it can be reached through LiteLLM",
            where=table.source,
            fix="local/ and scripted/ models run inside consensus",
        )
    config = made.config()
    lost = [f"{what}: {', '.join(groups)}" for what, groups in made.lost.items()]
    return LiteLLMExport(config, (*dict.fromkeys(made.left_out), *lost), table.version_hash)


class _Export:
    def __init__(self, table: PolicyTable, prices: PriceBook) -> None:
        self.table = table
        self.prices = prices
        self.model_list: list[dict[str, Any]] = []
        self.fallbacks: list[dict[str, list[str]]] = []
        self.wider: list[dict[str, list[str]]] = []
        self.left_out: list[str] = []
        self.lost: dict[str, list[str]] = {}
        self.named: dict[str, None] = {}
        self.providers: dict[str, ProviderSettings] = {}
        if table.classifier is not None:
            self.left_out.append("[classifier]: callers name the task type")

    def add_row(self, group: str, way: Route) -> None:
        if group in self.table.tiers:
            self.left_out.append(f'row "{group}": has the name of a tier')
            return
        first, row = way.hops[0], way.row
        model = first.models[0]
        if model.startswith(_OURS):
            self.left_out.append(f"{group}: {model} runs inside consensus")
            return
        self._say_what_is_lost(group, way)
        params = self._params(model)
        if first.spec.max_output_tokens is not None:
            params["max_tokens"] = first.spec.max_output_tokens
        if row.deadline_s is not None:
            params["timeout"] = min(params.get("timeout", row.deadline_s), row.deadline_s)
        if first.spec.temperature is not None:
            params["temperature"] = first.spec.temperature
        params["tags"] = _tags(group, row)
        self.model_list.append(
            {"model_name": group, "litellm_params": params, "model_info": self._info(group, way)}
        )
        others = [m for m in first.spec.fallbacks if m != model and not m.startswith(_OURS)]
        if others:
            self.fallbacks.append({group: others})
            self.named |= dict.fromkeys(others)
        wider = [m for m in self._escalated(way, others) if self._wider(m, model)]
        if wider:
            self.wider.append({group: wider})
            self.named |= dict.fromkeys(wider)

    def add_tier(self, tier: str, models: Iterable[str]) -> None:
        """A tier is its first model, as a single call takes it."""
        reached = [model for model in models if not model.startswith(_OURS)]
        if not reached:
            self.left_out.append(f"tier {tier}: its models run inside consensus")
            return
        info = {"id": f"tier/{tier}", "policy_tier": tier}
        params = {**self._params(reached[0]), "tags": [f"tier:{tier}"]}
        self.model_list.append({"model_name": tier, "litellm_params": params, "model_info": info})

    def add_models(self) -> None:
        """A group for each model that something falls back to."""
        for model in self.named:
            entry = {"model_name": model, "litellm_params": self._params(model)}
            self.model_list.append({**entry, "model_info": {"id": f"model/{model}"}})

    def config(self) -> dict[str, Any]:
        longest = max((len(v) for entry in self.fallbacks for v in entry.values()), default=1)
        retries = [
            _RETRIES if settings.max_attempts is None else settings.max_attempts - 1
            for settings in self.providers.values()
        ]
        if len(set(retries)) > 1:
            self.left_out.append(
                f"max_attempts of each provider: a router retries all alike, {max(retries)} times"
            )
        settings: dict[str, Any] = {
            "routing_strategy": "simple-shuffle",
            "num_retries": max(retries, default=_RETRIES),
            "max_fallbacks": longest,
            # Without it a request that is too long is sent, refused and paid in time.
            "enable_pre_call_checks": True,
        }
        waits = [s.cooldown_s for s in self.providers.values() if s.cooldown_s is not None]
        if waits:
            settings["cooldown_time"] = max(waits)
        if self.fallbacks:
            settings["fallbacks"] = self.fallbacks
        if self.wider:
            settings["context_window_fallbacks"] = self.wider
        return {"model_list": self.model_list, "router_settings": settings}

    def _params(self, model: str) -> dict[str, Any]:
        provider = model.partition("/")[0]
        settings = self.table.providers.get(provider, ProviderSettings())
        self.providers.setdefault(provider, settings)
        params: dict[str, Any] = {"model": model}
        key = settings.api_key_env or _KEYS.get(provider)
        if key is not None:
            params["api_key"] = f"os.environ/{key}"
        given = {
            "api_base": settings.base_url,
            "timeout": settings.timeout_s,
            "rpm": _whole(settings.requests_per_minute),
            "tpm": _whole(settings.tokens_per_minute),
            "max_parallel_requests": settings.concurrency,
        }
        params |= {name: value for name, value in given.items() if value is not None}
        if settings.requests_per_minute or settings.tokens_per_minute or settings.concurrency:
            self.left_out.append(
                f"limits of {provider}: consensus shares them among all its models, a router gives "
                "them to each entry"
            )
        price = self.table.prices.get(model)
        return params | (_price(price) if price is not None else {})

    def _info(self, group: str, way: Route) -> dict[str, Any]:
        row = way.row
        info = {
            "id": f"type/{group}",
            "task_type": group,
            "kind": row.kind,
            "policy_tier": row.tier,
            "consequence": row.consequence,
            "owner": row.owner,
            "description": row.description,
            "policy_version": self.table.version_hash,
            "max_input_tokens": self._room(way.hops[0]),
        }
        return {name: value for name, value in info.items() if value is not None}

    def _room(self, hop: Hop) -> int | None:
        """Input tokens that the guard lets pass; a router's own check knows only such a number."""
        model, spec = hop.models[0], hop.spec
        window = self.prices.window(model)
        if not window.known:
            return None
        asked = spec.max_output_tokens or 0
        room = spec.context_guard * window.max_input - self.prices.output_room(model, asked)
        return max(1, int(room))

    def _escalated(self, way: Route, others: Iterable[str]) -> tuple[str, ...]:
        found = dict.fromkeys(others)
        for hop in way.hops[1:]:
            found |= dict.fromkeys(m for m in hop.models[:1] if not m.startswith(_OURS))
        return tuple(found)

    def _wider(self, model: str, first: str) -> bool:
        return self.prices.window(model).max_input > self.prices.window(first).max_input

    def _say_what_is_lost(self, group: str, way: Route) -> None:
        first, row = way.hops[0], way.row
        if first.seats > 1:
            self._lose(f"panels (one call of {first.models[0]} instead)", group)
        if len(way.hops) > 1:
            steps = " → ".join(_step(hop) for hop in way.hops[1:])
            self._lose(f"escalation to {steps} where the answer does not suffice", group)
        if first.spec.calibration is not None:
            self._lose("calibration", group)
        own = self.table.tasks.get(group)
        if (own.when if own is not None else None) or self.table.defaults.when:
            self._lose("rules on length, structure and category (when)", group)
        if way.others:
            self._lose("mixes of strategies", group)
        for name in ("losses", "alpha", "veto", "gate", "max_usd"):
            if getattr(row, name) is not None:
                self._lose(name, group)

    def _lose(self, what: str, group: str) -> None:
        self.lost.setdefault(what, []).append(group)


def _step(hop: Hop) -> str:
    return hop.name if hop.seats == 1 else f"{hop.name}, {hop.seats} seats"


def _tags(group: str, row: TaskRow) -> list[str]:
    tags = [f"task_type:{group}"]
    if row.consequence is not None:
        tags.append(f"consequence:{row.consequence}")
    return tags


def _whole(value: float | None) -> int | None:
    return None if value is None else max(1, int(value))


def _price(price: Price) -> dict[str, float]:
    """Dollars per million tokens as LiteLLM's dollars per token."""
    return {
        name: float(f"{value / 1e6:.12g}")
        for key, name in _RATES.items()
        if (value := getattr(price, key)) is not None
    }
