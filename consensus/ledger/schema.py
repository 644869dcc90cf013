"""The ledger's tables: one definition for SQLite and PostgreSQL.

Money is whole pico-dollars in BIGINT (a single row holds up to nine million dollars), time is
seconds since 1970 (UTC), ``day`` is whole days since then: what attribution groups by, without any
database's own date functions. JSON is text, for the same reason.

Every change here goes with a step in :mod:`consensus.ledger.migrations`, appended there.

This module imports SQLAlchemy; import it at first use.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

__all__ = [
    "calls",
    "decisions",
    "incidents",
    "jobs",
    "labels",
    "meta",
    "metadata",
    "requests",
    "shadows",
    "watch_state",
]

metadata = MetaData()


def _word() -> Text:
    """A name or an id, compared byte by byte on both databases.

    Of any length: what a provider calls its model or its request is not ours to cut. PostgreSQL
    would otherwise compare by the server's language, where a prefix is no range.
    """
    return Text().with_variant(Text(collation="C"), "postgresql")


meta = Table(
    "meta",
    metadata,
    Column("key", _word(), primary_key=True),
    Column("value", Text, nullable=False),
)

calls = Table(
    "calls",
    metadata,
    # An answer from a tape stands under every decision that used it, so the pair is the key; its
    # order also finds a decision's calls.
    Column("decision_id", _word(), primary_key=True),
    Column("call_id", _word(), primary_key=True),
    Column("job_id", _word()),
    Column("seat", Integer, nullable=False),
    Column("purpose", _word(), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("requested_model", _word(), nullable=False),
    Column("served_model", _word()),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("cache_write_1h_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_pico", BigInteger, nullable=False),
    Column("price_basis", _word(), nullable=False),
    Column("latency_s", Double, nullable=False),
    Column("failure", _word()),
    Column("status", Integer),
    Column("request_id", _word()),
    Column("key", _word(), nullable=False),
    Column("task_type", _word(), nullable=False),
    Column("replayed", Boolean, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("day", Integer, nullable=False),
    Column("completion", Text),
    Index("calls_by_type_and_day", "task_type", "day"),
    Index(
        "calls_by_job",
        "job_id",
        sqlite_where=text("job_id IS NOT NULL"),
        postgresql_where=text("job_id IS NOT NULL"),
    ),
)

decisions = Table(
    "decisions",
    metadata,
    Column("receipt_id", _word(), primary_key=True),
    Column("job_id", _word()),
    Column("task_index", BigInteger),
    Column("task_id", _word()),
    Column("task_type", _word(), nullable=False),
    Column("kind", _word(), nullable=False),
    Column("action", _word(), nullable=False),
    Column("outcome", Text),
    Column("probability", Double),
    Column("agreement", Double, nullable=False),
    Column("ballots", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("hops", Integer, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("cost_pico", BigInteger, nullable=False),
    Column("frontier_cost_pico", BigInteger),
    Column("frontier_agrees", Boolean),
    Column("latency_s", Double, nullable=False),
    Column("policy_version", _word(), nullable=False),
    Column("strategy", _word(), nullable=False),
    Column("route", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("day", Integer, nullable=False),
    Column("text_stored", Boolean, nullable=False),
    Column("sha256", _word(), nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    Index("decisions_by_type_and_day", "task_type", "day"),
    Index("decisions_by_time", "created_at"),
    Index(
        "decisions_by_job",
        "job_id",
        "task_index",
        unique=True,
        sqlite_where=text("job_id IS NOT NULL"),
        postgresql_where=text("job_id IS NOT NULL"),
    ),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", _word(), primary_key=True),
    Column("identity", _word(), nullable=False),
    Column("input_sha256", _word(), nullable=False),
    Column("policy_version", _word(), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Index("jobs_by_identity", "identity"),
)

shadows = Table(
    "shadows",
    metadata,
    # What a stronger route said beside a decision, after its caller had the answer.
    Column("receipt_id", _word(), primary_key=True),
    Column("task_type", _word(), nullable=False),
    Column("route", _word(), nullable=False),
    Column("inclusion", Double, nullable=False),
    Column("status", _word(), nullable=False),
    Column("outcome", Text),
    Column("agrees", Boolean),
    Column("served_models", Text, nullable=False),
    Column("cost_pico", BigInteger, nullable=False),
    Column("latency_s", Double, nullable=False),
    Column("reason", Text),
    Column("policy_version", _word(), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("day", Integer, nullable=False),
    Index("shadows_by_type_and_day", "task_type", "day"),
)

labels = Table(
    "labels",
    metadata,
    Column("label_id", _word(), primary_key=True),
    Column("receipt_id", _word(), nullable=False),
    Column("task_type", _word(), nullable=False),
    Column("label", Text, nullable=False),
    Column("agrees", Boolean),
    Column("given_by", _word()),
    Column("source", _word(), nullable=False),
    Column("inclusion", Double),
    Column("created_at", Double, nullable=False),
    Column("day", Integer, nullable=False),
    # Nothing is overwritten: a later label supersedes, and the earlier one stays.
    Column("superseded_at", Double),
    Index("labels_of_receipt", "receipt_id"),
    Index("labels_by_type_and_day", "task_type", "day"),
    Index(
        "labels_in_force",
        "receipt_id",
        unique=True,
        sqlite_where=text("superseded_at IS NULL"),
        postgresql_where=text("superseded_at IS NULL"),
    ),
)

requests = Table(
    "requests",
    metadata,
    # A request that its sender may send again under a name of its own; both only as hashes.
    Column("name_sha256", _word(), primary_key=True),
    Column("body_sha256", _word(), nullable=False),
    Column("decision_id", _word(), nullable=False),
    # The process that decides it; dead where nobody holds the lock of this name.
    Column("owner", _word(), nullable=False),
    Column("created_at", Double, nullable=False),
)

watch_state = Table(
    "watch_state",
    metadata,
    # How far the watch has read, and what it has counted of each row.
    Column("name", _word(), primary_key=True),
    Column("value", Text, nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("incident_id", _word(), primary_key=True),
    # Empty where it is of no one task type.
    Column("task_type", _word(), nullable=False),
    Column("cause", _word(), nullable=False),
    Column("baseline", _word(), nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("told", Text, nullable=False),
    Column("closed_at", Double),
    Column("closed_by", _word()),
    Index("incidents_by_time", "opened_at"),
    Index(
        "incidents_open",
        "task_type",
        "cause",
        unique=True,
        sqlite_where=text("closed_at IS NULL"),
        postgresql_where=text("closed_at IS NULL"),
    ),
)
