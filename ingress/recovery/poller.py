"""Reads a failed list to its end, page by page: note the intent, call, keep the page in the journal.

Reading DingTalk's list deletes what was read before. So an *intent* is noted before each such call, and
removed in the commit that keeps the page. An intent that is left behind is a page that may be gone: the
process died in the call, or the answer did not arrive. Then the consumers are asked to resync.

Each instance has its own intents, in its journal, and nobody else settles them: two instances that read the
same list lose nothing, since each keeps what was given to it.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

import structlog

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.callbacks import FailedPage
from dingbridge.dingtalk.errors import ApiError, Unavailable
from dingbridge.errors import BridgeError
from dingbridge.events import content_hash, dedupe_key, extract_facts
from dingbridge.events.envelope import FAILED_LIST, FAILED_RECORD
from dingbridge.ingress.journal.rows import NewCallback, ResyncRequest, now_ms
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import RecoveryMetrics, known_type
from dingbridge.ingress.recovery.convert import ConvertedItem, convert_item, convert_record

log = structlog.get_logger(__name__)
T = TypeVar("T")

LIST_CALL: Final = "get_call_back_failed_result"
CONFIRM_CALL: Final = "callback/failrecord/list"
ISV_KEPT_S: Final = 7 * 86_400
PAGES_MAX: Final = 1_000
"""Pages of one run: 200,000 items. A list that does not end by then is DingTalk's fault or ours."""
_MARGIN_MS: Final = 15 * 60_000
"""An event is listed some 5 minutes after it happened (slug obtain-the-event-list-of-failed-push-messages): a
list that was read to its end lacks the last minutes."""
_INTENTS: Final = "recovery/intent/"
_ENDS: Final = "recovery/end/"
"""The journal's notes of what is owed, and of when each app's list was last read to its end."""


class AppList:
    """``get_call_back_failed_result``, for any app; a page makes DingTalk forget what it returned before. All
    calls raise ``ApiError``."""

    via: Final = FAILED_LIST
    convert = staticmethod(convert_item)

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client

    async def page(self) -> FailedPage:
        return await self._client.failed_callbacks()


class IsvList:
    """``callback/failrecord``, for ISV apps; it keeps each push whole for 7 days, until that is confirmed."""

    via: Final = FAILED_RECORD
    convert = staticmethod(convert_record)

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client
        self._span = (0, 0)

    async def page(self) -> FailedPage:
        now = int(time.time())
        self._span = now - ISV_KEPT_S, now + 60
        return await self._client.failed_records(tags=(), begin_s=self._span[0], end_s=self._span[1])

    async def confirm(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """These are in the journal, DingTalk may forget them. Returns what it has forgotten beside them,
        which must be kept, too."""
        known = {item.get("id") for item in items}
        confirmed = await self._client.confirm_failed_records(
            tags=(), begin_s=self._span[0], end_s=self._span[1], size=len(items)
        )
        return [item for item in confirmed.items if item.get("id") not in known]


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


class Poller:
    """The poller of one app in one process. One run at a time, and none while ``settle`` runs."""

    def __init__(
        self, app: str, source: AppList | IsvList, journal: Journal, metrics: RecoveryMetrics
    ) -> None:
        self._app, self._source, self._journal, self._metrics = app, source, journal, metrics
        self._unkept: tuple[Sequence[Any], str] | None = None
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
        result = Result()
        if self._unkept is not None:  # of an earlier run: the journal took no writes
            await self._keep(*self._unkept, result)
        await self._settle(result)
        more = True
        while more and not self._stopping:
            began_ms, items = now_ms(), result.items
            more = await self._page(result)
            result.pages += 1
            if more and (result.items == items or result.pages >= PAGES_MAX):
                raise BridgeError(
                    f"DingTalk's list of failed pushes does not end: after {result.pages} pages and "
                    f"{result.items} items it still has more; it is read again later"
                )
        if not more:
            await self._journal.commit([], {_ENDS + self._app: str(began_ms)})
            self.read_at_s = time.time()
        oldest_ms = result.oldest_ms
        self.oldest_s = 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)
        log.info("recovery.done", app=self._app, **result.counts())
        return result

    async def _settle(self, result: Result) -> None:
        missing = await settle(self._journal, self._metrics, self._app)
        result.pages_missing += missing
        result.resync_requests += missing

    async def _page(self, result: Result) -> bool:
        """Read one page and keep it; whether there is more."""
        source = self._source
        if not isinstance(source, IsvList):
            page, intent = await self._call_that_deletes(source.page, result)
            await self._keep(page.items, intent, result)
            return page.has_more
        page = await source.page()
        await self._keep(page.items, None, result)
        if page.items:
            beside, intent = await self._call_that_deletes(lambda: source.confirm(page.items), result)
            await self._keep(beside, intent, result)
        return page.has_more

    async def _call_that_deletes(self, call: Callable[[], Awaitable[T]], result: Result) -> tuple[T, str]:
        """What it returned, and the note of its intent, which is still open. Raises ``ApiError``."""
        intent = await self._begin()
        try:
            return await call(), intent
        except ApiError as error:
            if answer_may_be_lost(error):
                await self._settle(result)
            else:
                await self._journal.commit([], {intent: None})
            raise

    async def _begin(self) -> str:
        """Note that a call that deletes is about to be made; the key of the note."""
        ended = (await self._journal.notes(_ENDS)).get(_ENDS + self._app)
        since_ms = int(ended) - _MARGIN_MS if ended is not None and ended.isdecimal() else None
        key = _INTENTS + uuid.uuid4().hex
        note = _Intent(self._app, now_ms(), since_ms)
        await self._journal.commit([], {key: json.dumps(asdict(note))})
        return key

    async def _keep(self, items: Sequence[Any], intent: str | None, result: Result) -> None:
        """Commit a page: its callbacks, the resync requests in place of items without ids, and the end of
        its intent."""
        self._unkept = None if intent is None else (items, intent)
        page_id = uuid.uuid4().hex if intent is None else intent.removeprefix(_INTENTS)
        converted = [self._source.convert(i if isinstance(i, dict) else {"item": i}) for i in items]
        callbacks = [
            _callback(self._app, self._source.via, one.body, page_id, number)
            for number, one in enumerate(converted)
            if one.body is not None
        ]
        requests = _requests(self._app, converted, page_id)
        notes = {} if intent is None else {intent: None}
        new = await self._journal.commit([*callbacks, *requests], notes)
        self._unkept = None
        for one in converted:
            self._metrics.items.labels(known_type(one.event_type)).inc()
            result.types[one.event_type or "-"] += 1
            if one.time_ms is not None:
                result.oldest_ms = min(one.time_ms, result.oldest_ms or one.time_ms)
        result.items += len(converted)
        result.known_already += new[: len(callbacks)].count(False)
        result.resync_requests += len(requests)
        self._metrics.resync_requests.inc(len(requests))


@dataclass(frozen=True, slots=True)
class _Intent:
    """The note of a call that deletes: when it was made, and since when what it deletes may be missing."""

    app: str | None
    """``None``, for all apps, where another version's note is not understood."""
    at_ms: int
    since_ms: int | None

    @classmethod
    def of(cls, text: str) -> Self:
        with suppress(ValueError):
            match json.loads(text):
                case {"app": str(app), "at_ms": int(at_ms), "since_ms": int() | None as since_ms}:
                    return cls(app, at_ms, since_ms)
        return cls(None, now_ms(), None)


async def settle(journal: Journal, metrics: RecoveryMetrics, app: str | None = None) -> int:
    """Ask the consumers to resync for each page that may be gone, of ``app`` or of all; how many those
    were. No call of theirs may be under way. Raises ``JournalUnavailable``: call it again."""
    found = [(key, _Intent.of(text)) for key, text in (await journal.notes(_INTENTS)).items()]
    left = [(key, intent) for key, intent in found if app in (None, intent.app)]
    for key, intent in left:
        id, at = key.removeprefix(_INTENTS), datetime.fromtimestamp(intent.at_ms / 1000, UTC)
        log.error("recovery.page_missing", app=intent.app, intent=id, at=f"{at:%Y-%m-%dT%H:%M:%SZ}")
        reason = "a page of the failed list may be gone"
        request = ResyncRequest(f"page-{id}", reason, app=intent.app, since_ms=intent.since_ms)
        await journal.commit([request], {key: None})
        metrics.pages_missing.inc()
        metrics.resync_requests.inc()
    return len(left)


def _requests(app: str, converted: Sequence[ConvertedItem], page_id: str) -> list[ResyncRequest]:
    """One for each company and part with items that lack their ids."""
    requests = []
    for corp_id, part in dict.fromkeys((one.corp_id, one.resync) for one in converted):
        if part is not None:
            times = [one.time_ms for one in converted if (one.corp_id, one.resync) == (corp_id, part)]
            since_ms = None if None in times else min(at for at in times if at is not None) - _MARGIN_MS
            reason = "an item of the failed list does not say what changed"
            id = f"poor-{page_id}-{corp_id or ''}-{part}"
            requests.append(ResyncRequest(id, reason, app, corp_id, since_ms, part))
    return requests


def _callback(app: str, via: str, body: bytes, page_id: str, number: int) -> NewCallback:
    """The row of the item with this ``number`` on its page.

    An item without an id is known by its place, and has a time of receipt of its own, which becomes part of
    its id: an equal item beside it is another event.
    """
    facts, received_ms = extract_facts(body), now_ms()
    key = dedupe_key(facts, app, body)
    if not facts.has_identity:
        received_ms += number
        key = bytes(8) + content_hash(f"{page_id} {number}".encode())[:16]
    return NewCallback(received_ms, app, via, body, facts, key)
