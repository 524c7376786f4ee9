"""What a row of the journal becomes: the records of a callback, or resync requests to consumers.

A callback that the disk has damaged is not published; the consumers that keep a copy of the company get a
resync request instead. They also get one beside the records of a callback that is about somebody but does not
name them (third-party apps get such ones): one for all such callbacks of ``RESYNC_EVERY_MS``, due
``SETTLED_MS`` later, so that one comparison sees the changes behind all of them.
"""

import time
from pathlib import Path
from typing import Final

import structlog

from dingbridge.apps.company import Companies
from dingbridge.errors import SettingsError
from dingbridge.events import Received, Record, known, to_records
from dingbridge.events.catalogue import Part
from dingbridge.events.control import resync_requested
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.ingress.journal.rows import CONTROL, ResyncRequest, StoredCallback, now_ms
from dingbridge.schema.drift import drift_in
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import companies

log = structlog.get_logger(__name__)

RESYNC: Final = "resync requested"
"""``event_type`` of a resync request's record here: no legal EventType, so no callback has it."""
RESYNC_EVERY_MS: Final = 10 * 60_000
"""A resync can read the whole company: at most one in this time, of each company and part."""
SETTLED_MS: Final = 60_000
"""DingTalk's reads may lag behind its events, and the clocks of the relay and of a worker may differ."""
_LOOK_EVERY_S: Final = 0.1
"""How often the apps file is looked at."""
_READ_EVERY_S: Final = 1.0
"""How often one with mistakes is read again."""
_UNKNOWN_MS: Final = 7 * 86_400_000
"""How far back consumers compare if it is not known since when something may be missing."""
_DRIFT_EVERY_S: Final = 10.0
"""One callback of a type in this time is held against the catalogue: what drifts, drifts in all of them."""

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
        if (now := time.monotonic()) < self._read_at:
            return self._known
        self._read_at = now + _LOOK_EVERY_S
        file = _file_of(self._settings.dingtalk_apps_file)
        if file != self._file:
            try:
                self._known, self._file = companies(self._settings), file
            except SettingsError as error:  # the ingress logs it, too
                self._read_at = now + _READ_EVERY_S
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


class RecordBuilder:
    """Makes records of the rows of one ``journal``, by its id. As long as the settings stay the same, a row
    gives the same records every time, so that ``seq`` and number name one of them."""

    def __init__(self, settings: IngressSettings, journal: str) -> None:
        self._settings, self._journal = settings, journal
        self._companies = AppCompanies(settings)
        self._drift_checked: dict[str, float] = {}  # by known EventType: when, monotonic, s

    def records(self, row: StoredCallback) -> list[Record]:
        """The records of ``row``, in order; those of a resync request have ``RESYNC`` as their type."""
        if not row.intact:
            id, reason = f"damaged/{self._journal}/{row.seq}", "a row of the journal cannot be read"
            return self._resync(ResyncRequest(id, reason), now_ms())
        if row.via == CONTROL:
            return self._resync(ResyncRequest.of(row), row.received_ms)
        own = self._companies.now().of_app.get(row.app)
        received = Received(
            row.seq, self._journal, row.received_ms, row.app, row.via, row.body, own, row.facts
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
        known = self._companies.now()
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
