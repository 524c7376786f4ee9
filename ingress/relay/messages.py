"""What a row of the journal becomes: the records of a callback, or resync requests to consumers.

A callback that the disk has damaged is not published as if DingTalk had said it; the consumers that keep a
copy of the company get a resync request instead. They get one, too, beside the records of a callback that is
about somebody and does not say about whom (third-party apps get such ones). It is one for all such callbacks
of ``COMPARE_EVERY_MS``, and due ``SETTLED_MS`` after them, so that one comparison sees what each was about.
"""

import time
from typing import Final, NamedTuple

import structlog

from dingbridge.errors import SettingsError
from dingbridge.events import Received, Record, to_records
from dingbridge.events.catalogue import Part
from dingbridge.events.control import resync_requested
from dingbridge.events.envelope import NOBODY
from dingbridge.kafka.topics import inbox_topic
from dingbridge.schema.drift import drift_in
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import load_apps
from ingress.journal.rows import CONTROL, ResyncRequest, StoredCallback

log = structlog.get_logger(__name__)

COMPARE_EVERY_MS: Final = 10 * 60_000
"""A comparison can be a full sync: at most one in this time, of each company and part."""
SETTLED_MS: Final = 60_000
"""DingTalk's reads may lag behind its events, and the clocks of the relay and of a worker may differ."""
_UNKNOWN_MS = 7 * 86_400_000
"""How far back consumers look where nobody knows since when something may be missing."""


class Message(NamedTuple):
    """A record, and the topic of the ``inbox`` that it is for, if it is for one consumer alone."""

    record: Record
    inbox: str | None = None


class MessageBuilder:
    """For the rows of one ``journal``. The same row gives the same messages every time, so that a number
    names one of them, as long as the settings stay the same."""

    def __init__(self, settings: IngressSettings, journal: str) -> None:
        self._settings, self._journal = settings, journal

    def messages(self, row: StoredCallback) -> list[Message]:
        """What is to be sent for ``row``, in order. Never raises."""
        if not row.intact:
            id, reason = f"damaged/{self._journal}/{row.seq}", "a callback was damaged on the disk"
            return self._resync(ResyncRequest(id, reason), int(time.time() * 1000))
        if row.via == CONTROL:
            return self._resync(ResyncRequest.of(row), row.received_ms)
        received = Received(
            row.seq, self._journal, row.received_ms, row.app, row.via, row.body, row.traceparent
        )
        records = to_records(received, drift_in)
        messages = [Message(record) for record in records]
        for record in records:
            if record.compare is not None:
                return messages + self._comparison(row, record, record.compare)
        return messages

    def _comparison(self, row: StoredCallback, nameless: Record, part: Part) -> list[Message]:
        """The request that is due after a callback of which one record does not say whom it is about."""
        end_ms = (row.received_ms // COMPARE_EVERY_MS + 1) * COMPARE_EVERY_MS
        corp = dict(nameless.headers)["dingbridge-corp"].decode()
        request = ResyncRequest(
            f"nameless/{row.app}/{part}/{end_ms}",
            "an event does not say whom it is about",
            app=row.app,
            corp_id=None if corp == NOBODY else corp,
            part=part,
        )
        return self._resync(request, end_ms + SETTLED_MS)

    def _resync(self, request: ResyncRequest, now_ms: int) -> list[Message]:
        """One for each app and consumer, as if it was asked for at ``now_ms``."""
        since_ms = now_ms - _UNKNOWN_MS if request.since_ms is None else request.since_ms
        known = request.app is not None and request.corp_id is not None  # then the apps' file is not read
        corps = {} if known else self._corps()
        apps = sorted(corps) if request.app is None else [request.app]
        messages = []
        for app in apps:
            key, value, headers = resync_requested(
                id=request.id,
                app=app,
                corp_id=request.corp_id or corps.get(app),
                now_ms=now_ms,
                since_ms=since_ms,
                part=request.part,
                reason=request.reason,
            )
            record = Record(None, False, key, value, headers, request.id)
            for consumer in self._settings.resync_consumers:
                messages.append(Message(record, inbox_topic(self._settings, consumer)))
        return messages

    def _corps(self) -> dict[str, str | None]:
        """The company of each app that is configured, where it is known."""
        try:
            apps = load_apps(self._settings)
        except SettingsError as error:  # the ingress logs it, too
            log.warning("relay.apps_unreadable", words=str(error))
            apps = {}
        return {name: app.corp_id for name, app in apps.items()} or {self._settings.dingtalk_app_name: None}
