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
from dingbridge.events.envelope import FAILED_LIST
from dingbridge.ingress.journal.rows import NewCallback, ResyncRequest, now_ms
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import RecoveryMetrics, known_type
from dingbridge.ingress.recovery.convert import ConvertedItem, convert_item

log = structlog.get_logger(__name__)

LIST_CALL: Final = "get_call_back_failed_result"
PAGES_MAX: Final = 1_000
"""Pages of one run: 200,000 items. A list that does not end by then is DingTalk's fault or ours."""
_MARGIN_MS: Final = 15 * 60_000
"""An item's time may be later than that of the change behind it."""
_INTENT: Final = "recovery/intent/"
"""Begins the keys of the notes, before the name of the app."""


def answer_may_be_lost(error: ApiError) -> bool:
    """Whether DingTalk may have deleted a page for a call whose answer never arrived. A refusal that names
    its reason deleted nothing; nor did the firewall's, which stands before the platform. Any other HTML page
    may be a proxy's, in place of the answer."""
    if not isinstance(error, Unavailable) or error.unsent:
        return False
    return error.about != "address" and error.api == LIST_CALL


@dataclass(slots=True)
class Result:
    """What a run did. ``types`` counts items by EventType."""

    pages: int = 0
    items: int = 0
    known_already: int = 0
    resync_requests: int = 0
    pages_missing: int = 0
    types: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """For log and operator."""
        names = ("pages", "items", "known_already", "resync_requests", "pages_missing")
        return {name: getattr(self, name) for name in names}


class Poller:
    """The poller of one app in one process, which asks DingTalk by ``client``. One run at a time."""

    def __init__(self, app: str, client: DingTalkClient, journal: Journal, metrics: RecoveryMetrics) -> None:
        self._app, self._client, self._journal, self._metrics = app, client, journal, metrics
        self._intent = _INTENT + app
        self._stopping = False
        self.read_at_s = 0.0
        """When the list was last read to its end, or is read from then on; epoch s; 0: never."""

    def stop(self) -> None:
        """End the run under way after the page that it is at."""
        self._stopping = True

    async def run(self) -> Result:
        """Read the list to its end.

        Raises ``ApiError`` when DingTalk does not give the list, ``BridgeError`` when its list has no end,
        ``JournalUnavailable`` when the journal takes no write.
        """
        result, more, empty = Result(), True, 0
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
        log.info("recovery.done", app=self._app, **result.counts())
        return result

    async def _page(self, result: Result) -> FailedPage:
        """Read one page and keep it."""
        began = datetime.now(UTC).isoformat(timespec="milliseconds")
        await self._journal.commit([], {self._intent: began})
        try:
            page = await self._client.failed_callbacks()
        except ApiError as error:
            if not answer_may_be_lost(error):
                await self._journal.commit([], {self._intent: None})
            await self._settle(result)
            raise
        await self._keep([convert_item(item) for item in page.items], result)
        return page

    async def _settle(self, result: Result) -> None:
        """Ask the consumers to resync if an intent was left behind: a page may be gone."""
        at = (await self._journal.notes(self._intent)).get(self._intent)
        if at is None:
            return
        log.error("recovery.page_missing", app=self._app, at=at)
        reason = "a page of the failed list may be gone"
        request = ResyncRequest(f"page/{self._journal.id}/{at}", reason, self._app)
        await self._journal.commit([request], {self._intent: None})
        result.pages_missing += 1
        result.resync_requests += 1
        self._metrics.pages_missing.inc()
        self._metrics.resync_requests.inc()

    async def _keep(self, items: Sequence[ConvertedItem], result: Result) -> None:
        """Commit a page, and the end of its intent."""
        requests = self._requests(items)
        new = await self._journal.commit([*self._callbacks(items), *requests], {self._intent: None})
        for one in items:
            self._metrics.items.labels(known_type(one.event_type)).inc()
            result.types[one.event_type or "-"] += 1
        result.items += len(items)
        result.known_already += new.count(False)
        result.resync_requests += len(requests)
        self._metrics.resync_requests.inc(len(requests))

    def _callbacks(self, items: Sequence[ConvertedItem]) -> list[NewCallback]:
        """Return the callbacks that did not arrive. Two equal items without any identity are two events: they
        have no key, and different times of receipt, which become part of their ids."""
        received_ms, callbacks = now_ms(), list[NewCallback]()
        for number, one in enumerate(items):
            if (body := one.body) is not None:
                facts, at_ms, key = extract_facts(body), received_ms + number, None
                if facts.has_identity:
                    at_ms, key = received_ms, dedupe_key(facts, self._app, body)
                callbacks.append(NewCallback(at_ms, self._app, FAILED_LIST, body, facts, key))
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
