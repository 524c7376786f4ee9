"""What an operator may do to a journal: by asking the ingress that holds it, or alone when none does.

``retry`` tries parked records now, ``discard`` gives up damaged ones, ``prune`` deletes what is published,
``renormalise`` puts unclassified records back, ``recover`` reads the list of failed pushes. The ingress
serves them as ``POST /journal/<verb>`` on its private listener.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from dingbridge.errors import BridgeError
from dingbridge.health_server import json_response
from dingbridge.settings import IngressSettings, JournalSettings
from dingbridge.settings.apps import load_apps
from ingress.admin.renormalise import Renormaliser, renormalise
from ingress.errors import JournalUnavailable
from ingress.giving_up import callbacks_of, give_up, give_up_by
from ingress.journal.checkpoint import CursorFile
from ingress.journal.directory import FolderLock, journal_folders, possible_folders, prepare_folder
from ingress.journal.retention import Retention
from ingress.journal.writer import Journal
from ingress.mending import Mended, mend
from ingress.metrics import JournalMetrics, RecoveryMetrics
from ingress.recovery.apps import Recovery
from ingress.relay.parked import ParkingLot
from ingress.relay.process import PublisherProcess
from ingress.relay.reading import JournalReader
from ingress.relay.stats import Report
from ingress.relay.topics import TopicRouter

_HOURS_MAX = 1_000_000
"""A century: so that it can be reckoned with in milliseconds."""

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def retention(settings: IngressSettings) -> Retention:
    """For how long the journal keeps what is published, and dedupe keys, by the settings."""
    return Retention(callbacks_s=settings.journal_retention_hours * 3600, seen_s=settings.dedupe_window_s)


def older_than_s(settings: IngressSettings, options: dict[str, Any]) -> float:
    """What ``prune`` is asked for: ``older_than_hours`` counts from Kafka's acknowledgement; 0 deletes all
    that is published. Raises ``BridgeError``."""
    hours = options.get("older_than_hours", settings.journal_retention_hours)
    if not isinstance(hours, int | float) or isinstance(hours, bool) or not 0 <= hours <= _HOURS_MAX:
        raise BridgeError(f"older_than_hours must be a number of hours from 0 to {_HOURS_MAX}")
    return hours * 3600


def routes(
    settings: IngressSettings,
    journal: Journal,
    prune_leftovers: Callable[[float], Awaitable[int]],
    publishers: Callable[[], Mapping[Path, PublisherProcess]],
    recover: Verb,
) -> list[web.RouteDef]:
    """The routes of the private listener; ``publishers`` are those that run, by their folders."""

    renormaliser = Renormaliser(settings, journal.append)

    async def ask_retry(options: dict[str, Any]) -> dict[str, Any]:
        for publisher in publishers().values():
            publisher.retry_parked()
        return {"status": "trying what is parked; see `dingbridge journal stats`"}

    async def ask_prune(options: dict[str, Any]) -> dict[str, Any]:
        older = older_than_s(settings, options)
        return {"deleted": await journal.prune(older) + await prune_leftovers(older)}

    async def ask_put_back(options: dict[str, Any]) -> dict[str, Any]:
        return asdict(await renormaliser.run())

    async def ask_discard(options: dict[str, Any]) -> dict[str, Any]:
        return {"discarded": await give_up_by(publishers(), options)}

    verbs: dict[str, Verb] = {
        "retry": ask_retry,
        "discard": ask_discard,
        "prune": ask_prune,
        "renormalise": ask_put_back,
        "recover": recover,
    }
    return [web.post(f"/journal/{name}", _handler(verb)) for name, verb in verbs.items()]


def _handler(verb: Verb) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            options = await request.json() if request.can_read_body else {}
            if not isinstance(options, dict):
                raise ValueError("no JSON object")
            return json_response(await verb(options))
        except ValueError as error:
            return json_response({"error": f"the request's body is no JSON object ({error})"}, 400)
        except JournalUnavailable as error:
            return json_response({"error": str(error)}, 503)
        except BridgeError as error:
            return json_response({"error": str(error)}, 409)

    return handle


@contextmanager
def held(settings: JournalSettings) -> Iterator[list[Path]]:
    """All folders with journals, workers' too, locked. Raises ``JournalLocked`` when an ingress holds one."""
    root = settings.journal_path
    prepare_folder(root, allow_unsafe=True)
    locks = [FolderLock(folder) for folder in possible_folders(root)]
    try:
        for lock in locks:
            lock.acquire()
        yield journal_folders(root)
    finally:
        for lock in locks:
            lock.release()


@asynccontextmanager
async def _opened(settings: IngressSettings, folder: Path) -> AsyncIterator[Journal]:
    journal = Journal(folder, retention(settings), JournalMetrics(CollectorRegistry()))
    await journal.start()
    try:
        yield journal
    finally:
        await journal.stop()


async def prune_alone(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
    """``prune`` without an ingress, in every folder."""
    older, deleted = older_than_s(settings, options), 0
    with held(settings) as folders:
        for folder in folders:
            async with _opened(settings, folder) as journal:
                deleted += await journal.prune(older)
    return {"deleted": deleted}


async def put_back_alone(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
    """Renormalise without an ingress; the next one publishes it, also from a folder that no worker has."""
    with held(settings):
        async with _opened(settings, settings.journal_path) as journal:
            return asdict(await renormalise(settings, journal.append))


async def recover_alone(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
    """Read the lists of failed pushes without an ingress; what they hold is published when one starts."""
    apps = load_apps(settings)
    with held(settings):
        async with _opened(settings, settings.journal_path) as journal:
            recovery = Recovery(settings, lambda: apps, journal.append, RecoveryMetrics(CollectorRegistry()))
            try:
                return await recovery.verb(options)
            finally:
                await recovery.stop(0)


def mend_alone(settings: JournalSettings) -> list[Mended]:
    """Put sound files in the place of damaged ones, in every folder; no ingress may hold one.

    Raises what ``mend`` raises, and ``JournalLocked``.
    """
    with held(settings):
        return [mended for folder in possible_folders(settings.journal_path) for mended in mend(folder)]


async def retry_alone(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
    """Try what is parked without an ingress; how many records are still parked."""
    still = 0
    with held(settings) as folders:
        for folder in folders:
            cursor = CursorFile(folder)
            reader = JournalReader(folder, cursor)
            try:
                router = TopicRouter(settings, settings.unknown_topics_max)
                await router.load()
                await ParkingLot(settings, cursor, reader, router, Report()).retry(within_s=math.inf)
                still += sum(cursor.parked_counts().values())
            finally:
                reader.close()
                cursor.close()
    return {"still_parked": still}


async def discard_alone(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
    """Give up damaged callbacks without an ingress; how many."""
    wanted, discarded = callbacks_of(options), 0
    with held(settings) as folders:
        for folder in folders:
            cursor = CursorFile(folder)
            try:
                discarded += give_up(cursor, wanted)
            finally:
                cursor.close()
    return {"discarded": discarded}
