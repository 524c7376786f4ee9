"""Deletes inbox rows that no record needs any more: at a consumer's start, and every hour.

A row is kept as long as Kafka may deliver a record again, by the longest retention of a topic that a consumer
of this database reads.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import DBAPIError

from dingbridge.error_location import error_location
from dingbridge.errors import KafkaUnavailable
from dingbridge.settings import KafkaSettings
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable
from dingbridge.worker.store import inbox, outbox
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.offsets import keep_inbox
from dingbridge.worker.store.retention import Lives, lives_of_records

log = structlog.get_logger(__name__)

INTERVAL_S = 3600
RETRY_S = 30
"""Delay in s after Kafka or the database failed; short, so that pruning begins soon after the start."""


async def prune_regularly(
    database: Database, consumer: str, settings: KafkaSettings, topics: Sequence[str]
) -> None:
    """Delete the old rows of inbox and outbox, until cancelled. ``topics`` are all that ``consumer``
    reads."""
    said: Lives | None = None
    while True:
        wait_s = INTERVAL_S
        try:
            lives = await lives_of_records(settings, topics)
            if lives != said:
                said = lives
                _log_retention(consumer, lives)
            needed = None if None in lives.by_topic.values() else max(filter(None, lives.by_topic.values()))
            kept = await keep_inbox(database, consumer, needed)
            if kept is not None:
                rows = await inbox.prune(database, datetime.now(UTC) - kept)
                await outbox.prune(database, consumer, datetime.now(UTC) - kept)
                (log.info if rows else log.debug)("consumer.inbox_pruned", consumer=consumer, rows=rows)
        except (DependencyUnavailable, Conflict, KafkaUnavailable, DBAPIError) as error:
            # when two members prune at the same moment, PostgreSQL rolls one back
            reason = error_location(error, "consumers") if isinstance(error, DBAPIError) else str(error)
            log.warning("consumer.inbox_not_pruned", consumer=consumer, reason=reason)
            wait_s = RETRY_S
        await asyncio.sleep(wait_s)


def _log_retention(consumer: str, lives: Lives) -> None:
    """Log how long inbox rows are kept, and why, whenever that has changed."""
    if for_ever := sorted(topic for topic, life in lives.by_topic.items() if life is None):
        log.warning(
            "consumer.inbox_kept_for_ever",
            consumer=consumer,
            topics=for_ever,
            meaning="they keep their records for ever, so the table of applied events only grows; give them "
            "a retention.ms",
        )
    days = {round(life / timedelta(days=1), 1) for life in lives.by_topic.values() if life is not None}
    log.debug("consumer.inbox_kept", consumer=consumer, days=sorted(days))
    if lives.unknown:
        log.warning(
            "consumer.retention_unknown",
            consumer=consumer,
            topics=lives.unknown,
            meaning="Kafka does not return their retention (no right to DESCRIBE_CONFIGS); it is taken from "
            "TOPIC_RETENTION_DAYS and its like. If they keep records for longer, an event that is read again "
            "so late is applied twice: grant the right, or set them as the topics are",
        )
