"""Reads the failed list of one app to its end, page by page: note the intent, call, keep the page.

Reading DingTalk's list deletes the page that was read before. So before each call that deletes, the journal
notes an *intent* with the time. The commit that keeps the page removes the intent. An intent that is left
behind means that a page may be gone: the process died in the call, or the answer did not arrive. Then the
consumers are asked to resync.

Each ingress has intents of its own, in its journal. Two that read the same list lose nothing: each keeps the
pages that it was given.
"""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.callbacks import FailedPage
from dingbridge.dingtalk.errors import ApiError, Unavailable
from dingbridge.errors import BridgeError
from dingbridge.events import dedupe_key, extract_facts
from dingbridge.events.catalogue import Part
from dingbridge.events.envelope import FAILED_LIST, FAILED_RECORD
from dingbridge.ingress.journal.rows import NewCallback, ResyncRequest, now_ms
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import RecoveryMetrics, known_type
from dingbridge.ingress.recovery.convert import ConvertedItem, convert_item, convert_record

log = structlog.get_logger(__name__)

LIST_CALL: Final = "get_call_back_failed_result"
CONFIRM_CALL: Final = "callback/failrecord/list"
ISV_KEPT_S: Final = 7 * 86_400
PAGES_MAX: Final = 1_000
"""Pages of one run: 200,000 items. A list that does not end by then is DingTalk's fault or ours."""
_MARGIN_MS: Final = 15 * 60_000
"""An event is listed some 5 minutes after it happened (slug obtain-the-event-list-of-failed-push-messages): a
list that was read to its end lacks the last minutes."""
_NOTES: Final = "recovery/"


class AppList:
    """``get_call_back_failed_result``, for any app; a page makes DingTalk forget what it returned before."""

    via: Final = FAILED_LIST
    convert = staticmethod(convert_item)
    deletes = True

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client

    async def page(self) -> FailedPage:
        """The next page, once the one before is in the journal. Raises ``ApiError``."""
        return await self._client.failed_callbacks()


class IsvList:
    """``callback/failrecord``, for ISV apps; it keeps each push whole for 7 days, until that is confirmed."""

    via: Final = FAILED_RECORD
    convert = staticmethod(convert_record)

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client
        self._read = FailedPage([], has_more=False)
        self._span = (0, 0)

    @property
    def deletes(self) -> bool:
        """Whether the next ``page`` makes DingTalk forget something."""
        return bool(self._read.items)

    async def page(self) -> FailedPage:
        """A page; behind one with items, which are in the journal by now, the answer to their confirmation:
        what DingTalk has forgotten beside them. Raises ``ApiError``."""
        read, now = self._read, int(time.time())
        if not read.items:
            self._span = now - ISV_KEPT_S, now + 60
            self._read = page = await self._client.failed_records(
                tags=(), begin_s=self._span[0], end_s=self._span[1]
            )
            return FailedPage(page.items, has_more=self.deletes or page.has_more)
        confirmed = await self._client.confirm_failed_records(
            tags=(), begin_s=self._span[0], end_s=self._span[1], size=len(read.items)
        )
        self._read = FailedPage([], has_more=False)
        known = {item.get("id") for item in read.items}
        beside = [item for item in confirmed.items if item.get("id") not in known]
        return FailedPage(beside, has_more=read.has_more)


def answer_may_be_lost(error: ApiError) -> bool:
    """Whether DingTalk may have carried out a call that deletes, while its answer never arrived. A refusal
    that names its reason deleted nothing; nor did the firewall's, which stands before the platform."""
    if not isinstance(error, Unavailable) or error.unsent:
        return False
    return error.about != "address" and error.api in (LIST_CALL, CONFIRM_CALL)


@dataclass(slots=True)
class Result:
    """What a run did. ``types`` counts items by EventType, ``oldest_ms`` is the earliest event's time."""

    pages: int = 0
    items: int = 0
    known_already: int = 0
    resync_requests: int = 0
    pages_missing: int = 0
    oldest_ms: int | None = None
    types: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """For log and operator."""
        names = ("pages", "items", "known_already", "resync_requests", "pages_missing")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class _Page:
    """What a page has become, and the notes that the commit of its ``rows`` sets."""

    items: list[ConvertedItem]
    rows: list[NewCallback | ResyncRequest]
    notes: dict[str, str | None]


class Poller:
    """The poller of one app in one process. One run at a time."""

    def __init__(
        self, app: str, source: AppList | IsvList, journal: Journal, metrics: RecoveryMetrics
    ) -> None:
        self._app, self._source, self._journal, self._metrics = app, source, journal, metrics
        self._intent, self._end = f"{_NOTES}intent/{app}", f"{_NOTES}end/{app}"
        self._unkept: _Page | None = None
        self._stopping = False
        self.read_at_s = 0.0
        """When the list was last read to its end, or is read from then on; epoch s; 0: never."""
        self.oldest_s = 0.0
        """Age of the oldest event that the last run found; 0: it found none."""

    def stop(self) -> None:
        """End the run under way after the page that it is at."""
        self._stopping = True

    async def run(self) -> Result:
        """Read the list to its end.

        Raises ``ApiError`` when DingTalk does not give the list, ``BridgeError`` when its list has no end,
        ``JournalUnavailable`` with nothing lost: call it again.
        """
        result, more, empty = Result(), True, 0
        if self._unkept is not None:  # of an earlier run: the journal took no writes
            await self._keep(self._unkept, result)
        await self._settle(result)
        while more and not self._stopping:
            page = await self._page(result)
            result.pages += 1
            more, empty = page.has_more, 0 if page.items else empty + 1
            if more and (empty > 1 or result.pages >= PAGES_MAX):
                raise BridgeError(
                    f"DingTalk's list of failed pushes does not end: after {result.pages} pages and "
                    f"{result.items} items it still has more; it is read again later"
                )
        if not more:
            self.read_at_s = time.time()
        oldest_ms = result.oldest_ms
        self.oldest_s = 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)
        log.info("recovery.done", app=self._app, **result.counts())
        return result

    async def _page(self, result: Result) -> FailedPage:
        """Read one page and keep it."""
        began, deletes = datetime.now(UTC), self._source.deletes
        if deletes:
            await self._journal.commit([], {self._intent: began.isoformat(timespec="milliseconds")})
        try:
            page = await self._source.page()
        except ApiError as error:
            if deletes and not answer_may_be_lost(error):
                await self._journal.commit([], {self._intent: None})
            await self._settle(result)
            raise
        notes: dict[str, str | None] = {self._intent: None}
        if not page.has_more:
            notes[self._end] = str(round(began.timestamp() * 1000))
        items = [self._source.convert(item) for item in page.items]
        await self._keep(_Page(items, [*self._callbacks(items), *self._requests(items)], notes), result)
        return page

    async def _settle(self, result: Result) -> None:
        """Ask the consumers to resync if an intent was left behind: a page may be gone."""
        notes = await self._journal.notes(_NOTES)
        if (at := notes.get(self._intent)) is None:
            return
        log.error("recovery.page_missing", app=self._app, at=at)
        end = notes.get(self._end, "")
        since_ms = int(end) - _MARGIN_MS if end.isdecimal() else None
        reason = "a page of the failed list may be gone"
        request = ResyncRequest(f"page/{self._journal.id}/{at}", reason, self._app, since_ms=since_ms)
        await self._journal.commit([request], {self._intent: None})
        result.pages_missing += 1
        result.resync_requests += 1
        self._metrics.pages_missing.inc()
        self._metrics.resync_requests.inc()

    async def _keep(self, page: _Page, result: Result) -> None:
        """Commit a page, and the end of its intent."""
        self._unkept = page
        new = await self._journal.commit(page.rows, page.notes)
        self._unkept = None
        for one in page.items:
            self._metrics.items.labels(known_type(one.event_type)).inc()
            result.types[one.event_type or "-"] += 1
            if one.time_ms is not None:
                result.oldest_ms = min(one.time_ms, result.oldest_ms or one.time_ms)
        requests = sum(isinstance(row, ResyncRequest) for row in page.rows)
        result.items += len(page.items)
        result.known_already += new.count(False)
        result.resync_requests += requests
        self._metrics.resync_requests.inc(requests)

    def _callbacks(self, items: Sequence[ConvertedItem]) -> list[NewCallback]:
        """Return the callbacks that did not arrive. Two equal items without any identity are two events: they
        have no key, and different times of receipt, which become part of their ids."""
        received_ms, callbacks = now_ms(), list[NewCallback]()
        for number, one in enumerate(items):
            if (body := one.body) is not None:
                facts, at_ms, key = extract_facts(body), received_ms + number, None
                if facts.has_identity:
                    at_ms, key = received_ms, dedupe_key(facts, self._app, body)
                callbacks.append(NewCallback(at_ms, self._app, self._source.via, body, facts, key))
        return callbacks

    def _requests(self, items: Sequence[ConvertedItem]) -> list[ResyncRequest]:
        """Return a request for each company and part of which items lack their ids."""
        poor: dict[tuple[str | None, Part], list[int | None]] = {}
        for one in items:
            if one.resync is not None:
                poor.setdefault((one.corp_id, one.resync), []).append(one.time_ms)
        requests = []
        for (corp_id, part), times in poor.items():
            known = [at_ms for at_ms in times if at_ms is not None]
            since_ms = min(known) - _MARGIN_MS if len(known) == len(times) else None
            reason = "an item of the failed list does not say what changed"
            id = f"poor/{uuid.uuid4().hex}"
            requests.append(ResyncRequest(id, reason, self._app, corp_id, since_ms, part))
        return requests
