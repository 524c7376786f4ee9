"""What a row of the journal becomes: the records of a callback, or resync requests; and to which topics these
go.

A callback that the disk has damaged is not published; the consumers that keep a copy of the company get a
resync request instead. They also get one beside the records of a callback that is about somebody but does not
name them (third-party apps get such ones): one for all such callbacks of ``RESYNC_EVERY_MS``, due
``SETTLED_MS`` later, so that one comparison sees the changes behind all of them.
"""

import time
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from dingbridge.apps.company import Companies
from dingbridge.errors import SettingsError
from dingbridge.events import Received, Record, known, to_records
from dingbridge.events.catalogue import Part
from dingbridge.events.control import resync_requested
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.ingress.journal.rows import CONTROL, ResyncRequest, StoredCallback
from dingbridge.kafka.topic_policy import RESYNC, control_topic, event_topic, unclassified_topic
from dingbridge.kafka.topics import ensure_topics, existing_topics
from dingbridge.schema.drift import drift_in
from dingbridge.settings import IngressSettings, KafkaSettings
from dingbridge.settings.apps import companies

log = structlog.get_logger(__name__)

RESYNC_EVERY_MS: Final = 10 * 60_000
"""A resync can read the whole company: at most one in this time, of each company and part."""
SETTLED_MS: Final = 60_000
"""DingTalk's reads may lag behind its events, and the clocks of the relay and of a worker may differ."""
_READ_EVERY_S: Final = 1.0
"""How often an apps file with mistakes is read again."""
_UNKNOWN_MS = 7 * 86_400_000
"""How far back consumers compare if it is not known since when something may be missing."""


class Message(NamedTuple):
    """A record to send. A resync request has its ``topic``; of a callback's record the EventType decides."""

    record: Record
    topic: str | None = None


_File = tuple[int, ...]


class AppCompanies:
    """The companies of the apps. A changed apps file is read again; one with mistakes changes nothing."""

    def __init__(self, settings: IngressSettings) -> None:
        self._settings = settings
        self._known = Companies({})
        self._file: _File | None = ()
        """The file that ``_known`` was read from; None: there is none, empty: nothing was read yet."""
        self._read_at, self._logged = 0.0, ""
        self.now()  # now rather than at the first callback: the file may be broken by then

    def now(self) -> Companies:
        """Never raises. Before a valid file was read no company is known."""
        file = _file_of(self._settings.dingtalk_apps_file)
        if file != self._file and time.monotonic() >= self._read_at:
            try:
                self._known, self._file = companies(self._settings), file
            except SettingsError as error:  # the ingress logs it, too
                self._read_at = time.monotonic() + _READ_EVERY_S
                if str(error) != self._logged:
                    self._logged = str(error)
                    log.warning("relay.apps_unreadable", words=str(error))
        return self._known


def _file_of(path: Path | None) -> _File | None:
    """Its inode, size and time of change."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class MessageBuilder:
    """Makes messages of the rows of one ``journal``. As long as the settings stay the same, a row gives the
    same messages every time, so that ``seq`` and number name one of them."""

    def __init__(self, settings: IngressSettings, journal: str) -> None:
        self._settings, self._journal = settings, journal
        self._companies = AppCompanies(settings)

    def messages(self, row: StoredCallback) -> list[Message]:
        """The messages of ``row``, in order. Never raises."""
        if not row.intact:
            id, reason = f"damaged/{self._journal}/{row.seq}", "a row of the journal cannot be read"
            return self._resync(ResyncRequest(id, reason), int(time.time() * 1000))
        if row.via == CONTROL:
            return self._resync(ResyncRequest.of(row), row.received_ms)
        own = self._companies.now().of_app.get(row.app)
        received = Received(
            row.seq, self._journal, row.received_ms, row.app, row.via, row.body, row.traceparent, own
        )
        records = to_records(received, drift_in)
        messages = [Message(record) for record in records]
        for record in records:
            if record.resync is not None:
                return messages + self._nameless_resync(row, record, record.resync)
        return messages

    def _nameless_resync(self, row: StoredCallback, nameless: Record, part: Part) -> list[Message]:
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

    def _resync(self, request: ResyncRequest, now_ms: int) -> list[Message]:
        """One message for each app, dated ``now_ms``."""
        since_ms = now_ms - _UNKNOWN_MS if request.since_ms is None else request.since_ms
        known = self._companies.now()
        every = sorted(known.of_app) or [self._settings.dingtalk_app_name]
        apps = every if request.app is None else [request.app]
        messages, topic = [], control_topic(self._settings, RESYNC)
        for app in apps:
            key, value, headers = resync_requested(
                id=request.id,
                app=app,
                corp_id=known.of(app, request.corp_id or NO_CORP_ID),
                now_ms=now_ms,
                since_ms=since_ms,
                part=request.part,
                reason=request.reason,
            )
            messages.append(Message(Record(None, False, key, value, headers, request.id), topic))
        return messages


class TopicRouter:
    """Chooses the topic of a record, and makes sure that it exists before the first send.

    EventTypes that the catalogue does not have get topics of their own, up to a limit, since names from
    outside must not create topics without bounds; beyond it they go to the unclassified topic as they are.
    Which topics exist is read from Kafka, so that the limit holds across restarts.
    """

    def __init__(self, settings: KafkaSettings, unknown_topics_max: int) -> None:
        self._settings, self._unknown_max = settings, unknown_topics_max
        self._existing: set[str] = set()
        self._unknown: set[str] = set()
        self._settled: dict[str | None, str] = {}  # EventTypes whose topic is sure

    async def load(self) -> None:
        """Ask Kafka which topics there are. Raises ``KafkaUnavailable``."""
        self._existing = set(await existing_topics(self._settings))
        self._unknown = set(filter(self._counts_as_unknown, self._existing))
        self._settled.clear()

    def topic(self, record: Record) -> str:
        """The topic of ``record``."""
        settled = self._settled.get(record.event_type)
        if settled is not None:
            return settled
        if record.event_type is None:
            return unclassified_topic(self._settings)
        topic = event_topic(self._settings, record.event_type)
        if record.known or topic in self._existing:
            self._settled[record.event_type] = topic
            return topic
        return topic if len(self._unknown) < self._unknown_max else unclassified_topic(self._settings)

    async def ensure(self, topic: str, within_s: float = 30, *, again: bool = False) -> None:
        """Create ``topic`` if it is missing, and wait until it is there, ``within_s`` at most. ``again``:
        also ask Kafka about one that existed before. Raises ``KafkaUnavailable`` or ``TopicError``."""
        if topic in self._existing and not again:
            return
        await ensure_topics(self._settings, [topic], timeout_s=within_s)
        self._existing.add(topic)
        if self._counts_as_unknown(topic):
            self._unknown.add(topic)

    def _counts_as_unknown(self, topic: str) -> bool:
        prefix = self._settings.topic_prefix
        return (
            topic.startswith(prefix)
            and topic != unclassified_topic(self._settings)
            and not topic.startswith(self._settings.control_prefix)
            and not known(topic.removeprefix(prefix))
        )
