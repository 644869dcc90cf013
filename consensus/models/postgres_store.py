"""Shared limits in PostgreSQL: one function a journey, by the server's own clock.

For those who have the ledger there already and no Redis. The tables are ``UNLOGGED`` but for
budgets: a server that crashes forgets the last minute and no money. Every journey holds an advisory
lock of its provider, so processes take turns at it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    from psycopg import AsyncConnection

__all__ = ["PostgresStore"]

QUANTUM = 16
"""Calls at most that one process is granted in its turn while others wait."""

VERSION = 1
"""Part of every name: another version of the functions stands beside this one."""

_TABLES = """
CREATE UNLOGGED TABLE IF NOT EXISTS consensus_limit_calls_v1 (
  space text, provider text, permit text, begun double precision, held double precision,
  leased_until double precision, counted boolean NOT NULL DEFAULT true,
  PRIMARY KEY (space, provider, permit));
CREATE UNLOGGED TABLE IF NOT EXISTS consensus_limit_turns_v1 (
  space text, provider text, process text, place bigserial, until double precision,
  calls integer, tokens double precision, PRIMARY KEY (space, provider, process));
CREATE UNLOGGED TABLE IF NOT EXISTS consensus_limit_pauses_v1 (
  space text, provider text, until double precision, PRIMARY KEY (space, provider));
CREATE TABLE IF NOT EXISTS consensus_budgets_v1 (
  space text, budget text, period text, booked bigint NOT NULL,
  PRIMARY KEY (space, budget, period));
CREATE TABLE IF NOT EXISTS consensus_settled_v1 (
  once text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());

CREATE OR REPLACE FUNCTION consensus_admit_v1(
  s text, p text, me text, most_requests integer, request_span double precision,
  most_tokens double precision, token_span double precision, most_at_once integer,
  lease double precision, grace double precision, quantum integer,
  ids text[], sizes double precision[],
  ended text[], used double precision[], undone boolean[],
  OUT granted integer, OUT at double precision, OUT delay double precision,
  OUT paused double precision) LANGUAGE plpgsql AS $$
DECLARE
  clock double precision; asked integer := coalesce(array_length(ids, 1), 0);
  begun_now integer; running integer; tokens double precision; in_window integer;
  mine bigint; others integer; ahead_calls bigint; ahead_tokens double precision;
  size double precision; excess double precision; turn integer; first double precision;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('consensus limits ' || s || ' ' || p, 0));
  clock := extract(epoch FROM clock_timestamp());
  at := clock; granted := 0; delay := 0;
  UPDATE consensus_limit_calls_v1 c SET leased_until = 0,
      held = CASE WHEN e.u < 0 THEN c.held ELSE e.u END,
      counted = c.counted AND NOT e.o
    FROM unnest(ended, used, undone) AS e(i, u, o)
    WHERE c.space = s AND c.provider = p AND c.permit = e.i;
  DELETE FROM consensus_limit_calls_v1 c WHERE c.space = s AND c.provider = p
    AND c.leased_until <= clock AND c.begun < clock - greatest(request_span, token_span);
  DELETE FROM consensus_limit_turns_v1 t
    WHERE t.space = s AND t.provider = p AND t.until < clock AND t.process <> me;
  SELECT greatest(max(z.until) - clock, 0) INTO paused
    FROM consensus_limit_pauses_v1 z WHERE z.space = s AND z.provider = p;
  paused := coalesce(paused, 0);
  IF asked > 0 AND paused = 0 THEN
    SELECT t.place INTO mine FROM consensus_limit_turns_v1 t
      WHERE t.space = s AND t.provider = p AND t.process = me;
    SELECT count(*), coalesce(sum(t.calls) FILTER (WHERE mine IS NULL OR t.place < mine), 0),
           coalesce(sum(t.tokens) FILTER (WHERE mine IS NULL OR t.place < mine), 0)
      INTO others, ahead_calls, ahead_tokens FROM consensus_limit_turns_v1 t
      WHERE t.space = s AND t.provider = p AND t.process <> me;
    SELECT count(*) FILTER (WHERE c.counted AND c.begun >= clock - request_span),
           count(*) FILTER (WHERE c.leased_until > clock),
           coalesce(sum(c.held) FILTER (WHERE c.begun >= clock - token_span), 0),
           count(*) FILTER (WHERE c.begun >= clock - token_span AND c.held > 0)
      INTO begun_now, running, tokens, in_window
      FROM consensus_limit_calls_v1 c WHERE c.space = s AND c.provider = p;
    turn := CASE WHEN others > 0 THEN quantum ELSE asked END;
    WHILE granted < asked LOOP
      size := sizes[granted + 1];
      IF most_tokens >= 0 THEN size := least(size, most_tokens); END IF;
      IF NOT EXISTS (SELECT FROM consensus_limit_calls_v1 c WHERE c.space = s AND c.provider = p
                     AND c.permit = ids[granted + 1]) THEN
        IF granted >= turn THEN delay := NULL; EXIT; END IF;
        IF most_at_once >= 0 AND running + ahead_calls + 1 > most_at_once THEN
          delay := NULL; EXIT;
        END IF;
        IF most_requests >= 0 AND begun_now + ahead_calls + 1 > most_requests THEN
          IF begun_now < most_requests THEN delay := NULL; EXIT; END IF;
          SELECT min(c.begun) INTO first FROM consensus_limit_calls_v1 c
            WHERE c.space = s AND c.provider = p AND c.counted AND c.begun >= clock - request_span;
          delay := greatest(first + request_span - clock, 0) + 1e-6; EXIT;
        END IF;
        IF most_tokens >= 0 AND in_window > 0 AND tokens + ahead_tokens + size > most_tokens THEN
          excess := tokens + size - most_tokens;
          IF excess <= 0 THEN delay := NULL; EXIT; END IF;
          SELECT min(f.begun) INTO first FROM (
            SELECT c.begun, sum(c.held) OVER (ORDER BY c.begun, c.permit) AS freed
              FROM consensus_limit_calls_v1 c WHERE c.space = s AND c.provider = p
              AND c.begun >= clock - token_span) f WHERE f.freed >= excess;
          delay := greatest(first + token_span - clock, 0) + 1e-6; EXIT;
        END IF;
        INSERT INTO consensus_limit_calls_v1 (space, provider, permit, begun, held, leased_until)
          VALUES (s, p, ids[granted + 1], clock, size, clock + lease);
        begun_now := begun_now + 1; running := running + 1; tokens := tokens + size;
        in_window := in_window + 1;
      END IF;
      granted := granted + 1;
    END LOOP;
  END IF;
  IF granted < asked THEN
    -- Whoever was served goes to the end of the line; whoever was not keeps its place.
    IF granted > 0 THEN
      DELETE FROM consensus_limit_turns_v1 t
        WHERE t.space = s AND t.provider = p AND t.process = me;
    END IF;
    INSERT INTO consensus_limit_turns_v1 AS t (space, provider, process, until, calls, tokens)
      SELECT s, p, me, clock + grace, count(*), coalesce(sum(w.n), 0)
        FROM unnest(sizes[granted + 1 : granted + quantum]) AS w(n)
      ON CONFLICT (space, provider, process) DO UPDATE
        SET until = excluded.until, calls = excluded.calls, tokens = excluded.tokens;
  ELSE
    DELETE FROM consensus_limit_turns_v1 t
      WHERE t.space = s AND t.provider = p AND t.process = me;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION consensus_reserve_v1(
  s text, b text, pico bigint, day_cap bigint, month_cap bigint,
  OUT done boolean, OUT day text, OUT month text, OUT day_left bigint, OUT month_left bigint)
LANGUAGE plpgsql AS $$
DECLARE today timestamp := clock_timestamp() AT TIME ZONE 'UTC';
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('consensus budget ' || s || ' ' || b, 0));
  day := to_char(today, 'YYYY-MM-DD'); month := to_char(today, 'YYYY-MM');
  day_left := day_cap - coalesce((SELECT booked FROM consensus_budgets_v1 x
    WHERE x.space = s AND x.budget = b AND x.period = day), 0);
  month_left := month_cap - coalesce((SELECT booked FROM consensus_budgets_v1 x
    WHERE x.space = s AND x.budget = b AND x.period = month), 0);
  done := coalesce(pico <= day_left, true) AND coalesce(pico <= month_left, true);
  IF done THEN
    INSERT INTO consensus_budgets_v1 AS x VALUES (s, b, day, pico), (s, b, month, pico)
      ON CONFLICT (space, budget, period) DO UPDATE SET booked = x.booked + excluded.booked;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION consensus_settle_v1(
  s text, b text, periods text[], difference bigint, name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('consensus budget ' || s || ' ' || b, 0));
  DELETE FROM consensus_settled_v1 WHERE at < now() - interval '1 hour';
  INSERT INTO consensus_settled_v1 (once) VALUES (name) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    UPDATE consensus_budgets_v1 x SET booked = booked + difference
      WHERE x.space = s AND x.budget = b AND x.period = ANY (periods);
  END IF;
END $$;
"""

_ADMIT = "SELECT * FROM consensus_admit_v1(%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)"


class PostgresStore:
    """Limits and budgets in a PostgreSQL database, in the current schema.

    Args:
        url: ``postgresql://…``; standard variables (``PGPASSWORD`` …) fill what it lacks.
        space: those who name the same one share.
        timeout_s: after so long without an answer the server counts as away.

    Raises:
        PolicyError: the URL is none.
        MissingExtraError: the driver psycopg is not installed.
    """

    def __init__(self, url: str, *, space: str = "consensus", timeout_s: float = 2.0) -> None:
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError:
            raise MissingExtraError(
                "limits shared through PostgreSQL need the driver psycopg",
                fix="pip install 'consensus-engine[postgres]'",
            ) from None
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        try:
            conninfo_to_dict(self._url)
        except psycopg.Error:
            raise PolicyError(
                "the address of the shared limits is no URL of PostgreSQL",
                fix="write postgresql://USER:PASSWORD@HOST/DATABASE",
            ) from None
        self._space = space
        self._timeout_s = timeout_s
        self._connection: AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()
        self._home: asyncio.AbstractEventLoop | None = None

    async def admit(
        self,
        rates: Rates,
        process: str,
        calls: Sequence[tuple[str, int]],
        ended: Sequence[Settlement],
    ) -> Admission:
        """End some calls and begin others."""
        granted, at, delay, paused = await self._one(
            _ADMIT,
            (
                *(self._space, rates.provider, process),
                *(_or_none(rates.requests), rates.requests_window_s),
                *(float(_or_none(rates.tokens)), rates.tokens_window_s),
                *(_or_none(rates.concurrency), rates.lease_s, GRACE_S, QUANTUM),
                [permit for permit, _ in calls],
                [float(tokens) for _, tokens in calls],
                [end.permit for end in ended],
                [-1.0 if end.tokens is None else float(end.tokens) for end in ended],
                [end.unused for end in ended],
            ),
        )
        return Admission(granted, at, delay, paused)

    async def renew(self, rates: Rates, permits: Sequence[str]) -> None:
        """These calls are still running."""
        await self._one(
            "UPDATE consensus_limit_calls_v1 SET leased_until = "
            "extract(epoch FROM clock_timestamp()) + %s WHERE space = %s AND provider = %s "
            "AND permit = ANY(%s) AND leased_until > 0",
            (rates.lease_s, self._space, rates.provider, list(permits)),
        )

    async def leave(self, rates: Rates, process: str) -> None:
        """This process waits no longer."""
        await self._one(
            "DELETE FROM consensus_limit_turns_v1 "
            "WHERE space = %s AND provider = %s AND process = %s",
            (self._space, rates.provider, process),
        )

    async def pause(self, rates: Rates, seconds: float) -> None:
        """Admit nobody for so long."""
        await self._one(
            "INSERT INTO consensus_limit_pauses_v1 AS z VALUES "
            "(%s, %s, extract(epoch FROM clock_timestamp()) + %s) ON CONFLICT (space, provider) "
            "DO UPDATE SET until = greatest(z.until, excluded.until)",
            (self._space, rates.provider, seconds),
        )

    async def reserve(self, budget: str, caps: Caps, pico: int) -> Booked | Left:
        """Book money in this day and month."""
        done, day, month, *left = await self._one(
            "SELECT * FROM consensus_reserve_v1(%s, %s, %s, %s, %s)",
            (self._space, budget, pico, *caps),
        )
        return Booked(day, month) if done else Left(*left)

    async def settle(self, budget: str, booked: Booked, difference: int, *, once: str) -> None:
        """Correct what was booked."""
        await self._one(
            "SELECT consensus_settle_v1(%s, %s, %s, %s, %s)",
            (self._space, budget, list(booked), difference, once),
        )

    async def spent(self, budget: str) -> tuple[int, int]:
        """What is booked today and this month."""
        row = await self._one(
            "SELECT coalesce(sum(booked) FILTER (WHERE period = to_char(today, 'YYYY-MM-DD')), 0),"
            " coalesce(sum(booked) FILTER (WHERE period = to_char(today, 'YYYY-MM')), 0) "
            "FROM consensus_budgets_v1, (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS today) t "
            "WHERE space = %s AND budget = %s",
            (self._space, budget),
        )
        return int(row[0]), int(row[1])

    async def aclose(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None and self._home is asyncio.get_running_loop():
            await connection.close()

    # -- within ------------------------------------------------------------------------------------

    async def _one(self, statement: str, values: Sequence[Any]) -> Any:
        """Run one statement in a transaction of its own; its only row, if it has one."""
        import psycopg

        loop = asyncio.get_running_loop()
        if self._home is not loop:  # the connection of a loop dies with it
            self._home, self._connection, self._turn = loop, None, asyncio.Lock()
        async with self._turn:
            # A kept connection may have ended meanwhile: once more on a new one.
            for last in (self._connection is None, True):
                try:
                    return await self._ask(statement, values)
                except (psycopg.Error, OSError, TimeoutError) as error:
                    if last or not isinstance(error, psycopg.OperationalError):
                        raise StoreAwayError(f"PostgreSQL: {type(error).__name__}") from None
            raise AssertionError("the second attempt is the last")

    async def _ask(self, statement: str, values: Sequence[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._connection is None:
                    self._connection = await self._connect()
                cursor = await self._connection.execute(statement.encode(), values)
                return await cursor.fetchone() if cursor.description else None
        except BaseException:
            # Cut off in the middle, its answer would be taken for the next one's.
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()
            raise

    async def _connect(self) -> AsyncConnection[Any]:
        from psycopg import AsyncConnection

        connection = await AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=math.ceil(self._timeout_s)
        )
        async with connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('consensus limits', 0))"
            )
            there = await connection.execute("SELECT to_regproc('consensus_settle_v1')")
            if (await there.fetchone() or (None,))[0] is None:
                await connection.execute(_TABLES.encode())
        await connection.execute("SET synchronous_commit = on")
        return connection


def _or_none(limit: int | None) -> int:
    return -1 if limit is None else limit
