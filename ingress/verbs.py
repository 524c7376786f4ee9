"""What an operator may do to a journal: by asking the ingress that holds it, or alone when none does.

``retry`` tries parked records now, ``prune`` deletes what is published, ``renormalise`` puts unclassified
records back. The ingress serves them as ``POST /journal/<verb>`` on its private listener.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from bridge.admin import json_response
from bridge.errors import BridgeError
from bridge.settings import IngressSettings
from ingress.cursor import CursorFile
from ingress.errors import JournalUnavailable
from ingress.folder import FolderLock, prepare_folder
from ingress.journal import Journal
from ingress.metrics import JournalMetrics
from ingress.parking import ParkingLot
from ingress.reading import JournalReader
from ingress.renormalise import renormalise
from ingress.report import Report
from ingress.topic_router import TopicRouter
from ingress.upkeep import Retention

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def retention(settings: IngressSettings) -> Retention:
    """For how long the journal keeps what is published, and dedupe keys, by the settings."""
    return Retention(callbacks_s=settings.journal_retention_hours * 3600, seen_s=settings.dedupe_window_s)


async def prune(settings: IngressSettings, journal: Journal, options: dict[str, Any]) -> dict[str, Any]:
    """``older_than_hours`` counts from Kafka's acknowledgement; 0 deletes all that is published."""
    hours = options.get("older_than_hours", settings.journal_retention_hours)
    if not isinstance(hours, int | float) or isinstance(hours, bool) or hours < 0:
        raise BridgeError("older_than_hours must be a number of hours, 0 or more")
    return {"deleted": await journal.prune(hours * 3600)}


async def put_back(settings: IngressSettings, journal: Journal, options: dict[str, Any]) -> dict[str, Any]:
    """Renormalise; how many were read, put back, and left."""
    return asdict(await renormalise(settings, journal.append))


def routes(settings: IngressSettings, journal: Journal, retry: Callable[[], None]) -> list[web.RouteDef]:
    """The routes of the private listener; ``retry`` wakes the publisher."""

    async def ask_retry(options: dict[str, Any]) -> dict[str, Any]:
        retry()
        return {"status": "trying what is parked; see `dingbridge journal stats`"}

    async def ask_prune(options: dict[str, Any]) -> dict[str, Any]:
        return await prune(settings, journal, options)

    async def ask_put_back(options: dict[str, Any]) -> dict[str, Any]:
        return await put_back(settings, journal, options)

    verbs: dict[str, Verb] = {"retry": ask_retry, "prune": ask_prune, "renormalise": ask_put_back}
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


@asynccontextmanager
async def alone(settings: IngressSettings) -> AsyncIterator[Journal]:
    """The journal without an ingress. Raises ``JournalLocked`` when one holds the folder."""
    prepare_folder(settings.journal_path, allow_unsafe=True)
    lock = FolderLock(settings.journal_path)
    lock.acquire()
    journal = Journal(settings.journal_path, retention(settings), JournalMetrics(CollectorRegistry()))
    try:
        await journal.start()
        try:
            yield journal
        finally:
            await journal.stop()
    finally:
        lock.release()


async def retry_alone(settings: IngressSettings) -> dict[str, Any]:
    """Try what is parked without an ingress; how many records are still parked."""
    folder = settings.journal_path
    lock = FolderLock(folder)
    lock.acquire()
    cursor = CursorFile(folder)
    reader = JournalReader(folder, cursor)
    try:
        router = TopicRouter(settings, settings.unknown_topics_max)
        await router.load()
        await ParkingLot(settings, cursor, reader, router, Report()).retry()
        return {"still_parked": sum(cursor.parked_counts().values())}
    finally:
        reader.close()
        cursor.close()
        lock.release()
