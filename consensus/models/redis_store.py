"""Shared limits in Redis (6.2 or later): one script a journey, by the server's own clock.

Keys of one provider share a hash tag, so that a cluster keeps them together. What a script does is
done whole or not at all, and doing it twice (a connection that broke before its answer) is doing it
once: a permit that is there already is granted again, not beside itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from consensus.errors import MissingExtraError, PolicyError
from consensus.models.limit_store import (
    GRACE_S,
    Admission,
    Booked,
    Caps,
    Left,
    Rates,
    Settlement,
    StoreAwayError,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisStore"]

T = TypeVar("T")

QUANTUM = 16
"""Calls at most that one process is granted in its turn while others wait."""

AT_ONCE = 16
"""Journeys to the server at once, and connections to it."""

_ADMIT = """
local requests, sizes, ages, leases, turns, wants, misc =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local me = ARGV[1]
local most_requests, request_span = tonumber(ARGV[2]), tonumber(ARGV[3])
local most_tokens, token_span = tonumber(ARGV[4]), tonumber(ARGV[5])
local most_at_once, lease = tonumber(ARGV[6]), tonumber(ARGV[7])
local grace, quantum = tonumber(ARGV[8]), tonumber(ARGV[9])
local asked, ended = tonumber(ARGV[10]), tonumber(ARGV[11])
local calls, ends = 12, 12 + 2 * asked

for i = 0, ended - 1 do
  local k = ends + 3 * i
  local id, used, undo = ARGV[k], tonumber(ARGV[k + 1]), ARGV[k + 2]
  redis.call('ZREM', leases, id)
  if undo == '1' then redis.call('ZREM', requests, id) end
  local held = used >= 0 and redis.call('HGET', sizes, id)
  if held then
    redis.call('HSET', sizes, id, used)
    redis.call('HINCRBY', misc, 'tokens', used - held)
  end
end

redis.call('ZREMRANGEBYSCORE', requests, '-inf', '(' .. string.format('%.0f', now - request_span))
redis.call('ZREMRANGEBYSCORE', leases, '-inf', string.format('%.0f', now))
local edge = '(' .. string.format('%.0f', now - token_span)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ages, '-inf', edge)) do
  redis.call('HINCRBY', misc, 'tokens', -(tonumber(redis.call('HGET', sizes, id)) or 0))
  redis.call('HDEL', sizes, id)
end
redis.call('ZREMRANGEBYSCORE', ages, '-inf', edge)

local ahead_calls, ahead_tokens, others, mine = 0, 0, 0, false
for _, process in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
  if process == me then
    mine = true
  else
    local until_, n, size = string.match(redis.call('HGET', wants, process) or '0:0:0',
                                         '(%d+):(%d+):(%d+)')
    if tonumber(until_) < now then
      redis.call('ZREM', turns, process)
      redis.call('HDEL', wants, process)
    else
      others = others + 1
      if not mine then
        ahead_calls, ahead_tokens = ahead_calls + n, ahead_tokens + size
      end
    end
  end
end

local paused = math.max((tonumber(redis.call('HGET', misc, 'paused')) or 0) - now, 0)
local begun = redis.call('ZCARD', requests)
local running = redis.call('ZCARD', leases)
local held = tonumber(redis.call('HGET', misc, 'tokens')) or 0
local stamp = string.format('%.0f', now)
local granted, delay, poll = 0, 0, 0
local turn = others > 0 and quantum or asked
while granted < asked and paused == 0 do
  local id = ARGV[calls + 2 * granted]
  local size = tonumber(ARGV[calls + 2 * granted + 1])
  if most_tokens >= 0 then size = math.min(size, most_tokens) end
  if not redis.call('ZSCORE', leases, id) then
    if granted >= turn then poll = 1 break end
    if most_at_once >= 0 and running + ahead_calls + 1 > most_at_once then poll = 1 break end
    if most_requests >= 0 and begun + ahead_calls + 1 > most_requests then
      if begun < most_requests then poll = 1 else
        local first = redis.call('ZRANGE', requests, 0, 0, 'WITHSCORES')
        delay = first[2] + request_span - now + 1
      end
      break
    end
    if most_tokens >= 0 and redis.call('ZCARD', ages) > 0
       and held + ahead_tokens + size > most_tokens then
      local excess = held + size - most_tokens
      if excess <= 0 then poll = 1 else
        local from, last = 0, nil
        while excess > 0 do
          local some = redis.call('ZRANGE', ages, from, from + 63, 'WITHSCORES')
          if #some == 0 then break end
          for k = 1, #some, 2 do
            excess = excess - (tonumber(redis.call('HGET', sizes, some[k])) or 0)
            last = tonumber(some[k + 1])
            if excess <= 0 then break end
          end
          from = from + 64
        end
        delay = last and (last + token_span - now + 1) or 0
        if not last then poll = 1 end
      end
      break
    end
    if most_requests >= 0 then redis.call('ZADD', requests, stamp, id) begun = begun + 1 end
    if most_tokens >= 0 then
      redis.call('ZADD', ages, stamp, id)
      redis.call('HSET', sizes, id, size)
      redis.call('HINCRBY', misc, 'tokens', size)
      held = held + size
    end
    redis.call('ZADD', leases, string.format('%.0f', now + lease), id)
    running = running + 1
  end
  granted = granted + 1
end

if granted < asked then
  -- Whoever was served goes to the end of the line; whoever was not keeps its place.
  if granted > 0 or not mine then
    redis.call('ZADD', turns, redis.call('HINCRBY', misc, 'line', 1), me)
  end
  local n, size = 0, 0
  while n < quantum and granted + n < asked do
    size = size + tonumber(ARGV[calls + 2 * (granted + n) + 1])
    n = n + 1
  end
  redis.call('HSET', wants, me, string.format('%.0f:%d:%.0f', now + grace, n, size))
elseif mine then
  redis.call('ZREM', turns, me)
  redis.call('HDEL', wants, me)
end
local life = math.ceil((2 * math.max(request_span, token_span) + lease + paused) / 1000)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, life) end
return {granted, stamp, string.format('%.0f', delay), poll, string.format('%.0f', paused)}
"""

_RENEW = """
local clock = redis.call('TIME')
local till = string.format('%.0f', clock[1] * 1000000 + clock[2] + ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', till, ARGV[i]) end
return redis.call('PEXPIRE', KEYS[1], math.ceil(2 * ARGV[1] / 1000), 'GT')
"""

_PAUSE = """
local clock = redis.call('TIME')
local till = clock[1] * 1000000 + clock[2] + ARGV[1]
if till > (tonumber(redis.call('HGET', KEYS[1], 'paused')) or 0) then
  redis.call('HSET', KEYS[1], 'paused', string.format('%.0f', till))
end
return redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] / 1000))
"""

# Days since 1970 as a date: Howard Hinnant's civil_from_days.
_PERIODS = """
local seconds = tonumber(redis.call('TIME')[1])
local z = math.floor(seconds / 86400) + 719468
local era = math.floor(z / 146097)
local doe = z - era * 146097
local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
                        - math.floor(doe / 146096)) / 365)
local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
local mp = math.floor((5 * doy + 2) / 153)
local day_of_month = doy - math.floor((153 * mp + 2) / 5) + 1
local month_of_year = mp < 10 and mp + 3 or mp - 9
local year = yoe + era * 400 + (month_of_year <= 2 and 1 or 0)
local month = string.format('%04d-%02d', year, month_of_year)
local day = string.format('%s-%02d', month, day_of_month)
"""

# Sums are whole pico-dollars: 64 bits in Redis, compared here as doubles (exact up to $9,007).
_RESERVE = (
    _PERIODS
    + """
local left, refused = {}, false
for i, period in ipairs({day, month}) do
  local cap = ARGV[1 + i]
  if cap == '' then left[i] = '' else
    local room = tonumber(cap) - (tonumber(redis.call('HGET', KEYS[1], period)) or 0)
    left[i] = string.format('%.0f', room)
    if tonumber(ARGV[1]) > room then refused = true end
  end
end
if refused then return {0, left[1], left[2]} end
redis.call('HINCRBY', KEYS[1], day, ARGV[1])
redis.call('HINCRBY', KEYS[1], month, ARGV[1])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 7) < month and #field == 10 then redis.call('HDEL', KEYS[1], field) end
end
return {1, day, month}
"""
)

# What was settled is known for an hour: a journey that is repeated changes nothing.
_SETTLE = """
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', 3600) then
  redis.call('HINCRBY', KEYS[1], ARGV[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], ARGV[3], ARGV[1])
end
return 1
"""

_SPENT = (
    _PERIODS
    + """
return {redis.call('HGET', KEYS[1], day) or '0', redis.call('HGET', KEYS[1], month) or '0'}
"""
)


class RedisStore:
    """Limits and budgets in a Redis server.

    Budgets last as long as the server keeps its data: give it an append-only file.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with a password where one is needed.
        space: those who name the same one share; in front of every key.
        timeout_s: after so long without an answer the server counts as away.

    Raises:
        PolicyError: the URL is none.
        MissingExtraError: the package redis is not installed.
    """

    def __init__(self, url: str, *, space: str = "consensus", timeout_s: float = 2.0) -> None:
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise MissingExtraError(
                "limits shared through Redis need the package redis",
                fix="pip install 'consensus-engine[redis]'",
            ) from None

        def connect() -> Redis:
            return Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                # A kept connection may have ended meanwhile: once more on a new one.
                retry=Retry(NoBackoff(), 1),
                health_check_interval=0,
                max_connections=AT_ONCE,
            )

        try:
            connect()
        except ValueError:
            raise PolicyError(
                "the address of the shared limits is no URL of Redis",
                fix="write redis://:PASSWORD@HOST:6379/0",
            ) from None
        self._connect: Callable[[], Redis] = connect
        self._space = space
        self._client: Redis | None = None
        self._scripts: dict[str, Any] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._home: asyncio.AbstractEventLoop | None = None

    async def admit(
        self,
        rates: Rates,
        process: str,
        calls: Sequence[tuple[str, int]],
        ended: Sequence[Settlement],
    ) -> Admission:
        """End some calls and begin others."""
        arguments: list[str | int] = [
            process,
            -1 if rates.requests is None else rates.requests,
            _micro(rates.requests_window_s),
            -1 if rates.tokens is None else rates.tokens,
            _micro(rates.tokens_window_s),
            -1 if rates.concurrency is None else rates.concurrency,
            _micro(rates.lease_s),
            _micro(GRACE_S),
            QUANTUM,
            len(calls),
            len(ended),
        ]
        for permit, tokens in calls:
            arguments += [permit, tokens]
        for end in ended:
            arguments += [end.permit, -1 if end.tokens is None else end.tokens, int(end.unused)]
        granted, at, delay, poll, paused = await self._run(
            _ADMIT,
            self._keys(rates, "requests", "sizes", "ages", "leases", "turns", "wants", "misc"),
            arguments,
        )
        return Admission(
            int(granted), int(at) / 1e6, None if poll else int(delay) / 1e6, int(paused) / 1e6
        )

    async def renew(self, rates: Rates, permits: Sequence[str]) -> None:
        """These calls are still running."""
        await self._run(_RENEW, self._keys(rates, "leases"), [_micro(rates.lease_s), *permits])

    async def leave(self, rates: Rates, process: str) -> None:
        """This process waits no longer."""
        turns, wants = self._keys(rates, "turns", "wants")
        await self._do(lambda client: client.zrem(turns, process))
        await self._do(lambda client: client.hdel(wants, process))

    async def pause(self, rates: Rates, seconds: float) -> None:
        """Admit nobody for so long."""
        life = seconds + 2 * max(rates.requests_window_s, rates.tokens_window_s) + rates.lease_s
        await self._run(_PAUSE, self._keys(rates, "misc"), [_micro(seconds), _micro(life)])

    async def reserve(self, budget: str, caps: Caps, pico: int) -> Booked | Left:
        """Book money in this day and month."""
        done, day, month = await self._run(
            _RESERVE, [self._purse(budget)], [pico, *("" if cap is None else cap for cap in caps)]
        )
        if done:
            return Booked(day.decode(), month.decode())
        return Left(*(None if left == b"" else int(left) for left in (day, month)))

    async def settle(self, budget: str, booked: Booked, difference: int, *, once: str) -> None:
        """Correct what was booked."""
        key = self._purse(budget)
        await self._run(_SETTLE, [key, f"{key}:{once}"], [difference, *booked])

    async def spent(self, budget: str) -> tuple[int, int]:
        """What is booked today and this month."""
        day, month = await self._run(_SPENT, [self._purse(budget)], [])
        return int(day), int(month)

    async def aclose(self) -> None:
        """Close connections."""
        client, self._client = self._client, None
        if client is not None and self._home is asyncio.get_running_loop():
            await client.aclose()

    # -- within ------------------------------------------------------------------------------------

    def _keys(self, rates: Rates, *names: str) -> list[str]:
        return [f"{self._space}:{{{rates.provider}}}:{name}" for name in names]

    def _purse(self, budget: str) -> str:
        return f"{self._space}:{{budget {budget}}}"

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        def run(client: Redis) -> Awaitable[Any]:
            known = self._scripts.get(script)
            if known is None:
                known = self._scripts[script] = client.register_script(script)
            return cast("Awaitable[Any]", known(keys=keys, args=arguments))

        return await self._do(run)

    async def _do(self, command: Callable[[Redis], Awaitable[T]]) -> T:
        from redis.exceptions import RedisError

        loop = asyncio.get_running_loop()
        if self._client is None or self._home is not loop:  # the connections of a loop die with it
            self._client, self._home = self._connect(), loop
            self._scripts, self._places = {}, asyncio.Semaphore(AT_ONCE)
        try:
            # The pool would refuse where all its connections are taken; here one waits.
            async with self._places:
                return await command(self._client)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreAwayError(f"Redis: {type(error).__name__}") from None


def _micro(seconds: float) -> int:
    return math.ceil(seconds * 1e6)
