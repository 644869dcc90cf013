"""Calls through the providers' batch endpoints: half the price, within a day (design/batch.md)."""

from consensus.models.batch.client import BatchClient
from consensus.models.batch.desk import BatchSettings, Event
from consensus.models.batch.journal import Journal

__all__ = ["BatchClient", "BatchSettings", "Event", "Journal"]
