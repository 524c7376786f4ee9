"""Asks the consumers that keep a part of the company to look anew: an event of ours into their inboxes."""

import time
from typing import Final

import structlog

from dingbridge.events.control import Part, resync_requested
from dingbridge.kafka.topics import inbox_topic
from dingbridge.settings import KafkaSettings
from ingress.recovery.ledger_topic import Log

log = structlog.get_logger(__name__)

CONTACTS: Final = "address-sync"
APPROVALS: Final = "approval"
"""The consumers that obey; the ingress knows them by name alone."""
UNKNOWN_MS: Final = 7 * 86_400_000
"""How far back is looked where nobody knows when the failed list was last read to its end."""
MARGIN_MS: Final = 15 * 60_000
"""An event is listed some 5 minutes after it happened (obtain-the-event-list-of-failed-push-messages), so a
list that was read to its end does not tell of the last minutes."""


class Orders:
    """Orders for one app; ``corp_id`` is its company, if that is known."""

    def __init__(self, settings: KafkaSettings, app: str, corp_id: str | None = None) -> None:
        self._settings, self._app, self._corp_id = settings, app, corp_id

    async def contacts(self, ledger: Log, id: str, *, corp_id: str | None, part: Part, reason: str) -> None:
        """Read this part of the company anew. Raises ``BridgeError``."""
        await self._send(ledger, CONTACTS, id, corp_id, None, part, reason)

    async def approvals(
        self, ledger: Log, id: str, *, corp_id: str | None, since_ms: int | None, reason: str
    ) -> None:
        """Compare the approvals since ``since_ms`` (None: not known). Raises ``BridgeError``."""
        await self._send(ledger, APPROVALS, id, corp_id, since_ms, "all", reason)

    async def _send(
        self,
        ledger: Log,
        consumer: str,
        id: str,
        corp_id: str | None,
        since_ms: int | None,
        part: Part,
        reason: str,
    ) -> None:
        now_ms = int(time.time() * 1000)
        since_ms = now_ms - UNKNOWN_MS if since_ms is None else since_ms - MARGIN_MS
        corp_id = corp_id or self._corp_id
        record = resync_requested(
            id=id, app=self._app, corp_id=corp_id, now_ms=now_ms, since_ms=since_ms, part=part, reason=reason
        )
        await ledger.send(inbox_topic(self._settings, consumer), record.key, record.value, record.headers)
        log.warning("recovery.resync_requested", app=self._app, consumer=consumer, part=part, reason=reason)
