"""What a row of the journal becomes: the records of a callback, or resync requests to consumers.

A callback that the disk has damaged is not published; the consumers that keep a copy of the company get a
resync request instead. Third-party apps also get callbacks that are about a person but do not name them. All
such callbacks of ``RESYNC_EVERY_MS`` are followed by one resync request, which is due ``SETTLED_MS`` later.
So one comparison sees the changes behind all of them.
"""

import time
from collections.abc import Callable
from typing import Final

from dingbridge.apps.company import Companies
from dingbridge.events import Received, Record, known, to_records
from dingbridge.events.catalogue import Part
from dingbridge.events.control import resync_requested
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.ingress.journal.rows import CONTROL, ResyncRequest, StoredCallback, now_ms
from dingbridge.schema.drift import drift_in
from dingbridge.settings import IngressSettings

RESYNC: Final = "resync requested"
"""``event_type`` of a resync request's record here: no legal EventType, so no callback has it."""
RESYNC_EVERY_MS: Final = 10 * 60_000
"""A resync can read the whole company: at most one in this time, of each company and part."""
SETTLED_MS: Final = 60_000
"""DingTalk's reads may lag behind its events, and the clocks of the relay and of a worker may differ."""
_UNKNOWN_MS: Final = 7 * 86_400_000
"""How far back consumers compare if it is not known since when something may be missing."""
_DRIFT_EVERY_S: Final = 10.0
"""One callback of a type in this time is held against the catalogue: what drifts, drifts in all of them."""


class RecordBuilder:
    """Makes records of the rows of one ``journal``, by its id. As long as the settings stay the same, a row
    gives the same records every time, so that ``seq`` and number name one of them."""

    def __init__(
        self, settings: IngressSettings, companies: Callable[[], Companies], journal: str = ""
    ) -> None:
        """``companies`` returns those of the apps as they are configured now."""
        self._settings, self._companies, self.journal = settings, companies, journal
        self._drift_checked: dict[str, float] = {}  # by known EventType: when, monotonic, s

    def of(self, row: StoredCallback) -> list[Record]:
        """The records of ``row``, in order; those of a resync request have ``RESYNC`` as their type."""
        if not row.intact:
            id, reason = f"damaged/{self.journal}/{row.seq}", "a row of the journal cannot be read"
            return self._resync(ResyncRequest(id, reason), now_ms())
        if row.via == CONTROL:
            return self._resync(ResyncRequest.of(row), row.received_ms)
        own = self._companies().of_app.get(row.app)
        received = Received(
            row.seq, self.journal, row.received_ms, row.app, row.via, row.body, own, row.facts
        )
        records = to_records(received, drift_in if self._drift_is_due(row.facts.event_type) else None)
        for record in records:
            if record.resync is not None:
                return records + self._nameless_resync(row, record, record.resync)
        return records

    def _drift_is_due(self, event_type: str | None) -> bool:
        now = time.monotonic()
        if event_type is None or not known(event_type):
            return False
        if now - self._drift_checked.get(event_type, -_DRIFT_EVERY_S) < _DRIFT_EVERY_S:
            return False
        self._drift_checked[event_type] = now
        return True

    def _nameless_resync(self, row: StoredCallback, nameless: Record, part: Part) -> list[Record]:
        """The resync request after a callback with a record that does not say whom it is about."""
        end_ms = (row.received_ms // RESYNC_EVERY_MS + 1) * RESYNC_EVERY_MS
        corp = dict(nameless.headers)["dingbridge-corp"].decode()
        request = ResyncRequest(
            f"nameless/{row.app}/{part}/{end_ms}",
            "an event does not say whom it is about",
            app=row.app,
            corp_id=None if corp == NO_CORP_ID else corp,
            part=part,
        )
        return self._resync(request, end_ms + SETTLED_MS)

    def _resync(self, request: ResyncRequest, due_ms: int) -> list[Record]:
        """One record for each app, dated ``due_ms``."""
        since_ms = due_ms - _UNKNOWN_MS if request.since_ms is None else request.since_ms
        known = self._companies()
        every = sorted(known.of_app) or [self._settings.dingtalk_app_name]
        records = []
        for app in every if request.app is None else [request.app]:
            key, value, headers = resync_requested(
                id=request.id,
                app=app,
                corp_id=known.of(app, request.corp_id or NO_CORP_ID),
                now_ms=due_ms,
                since_ms=since_ms,
                part=request.part,
                reason=request.reason,
            )
            records.append(Record(RESYNC, False, key, value, headers, request.id))
        return records
