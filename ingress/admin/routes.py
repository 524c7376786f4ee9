"""An operator's verbs on the journal: ``POST /journal/<verb>`` on the private listener of the ingress that
holds it, or the same by a command where none does.

``prune`` deletes published callbacks, ``import`` brings another folder's callbacks in. Verbs on parked
records are the relay's.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import apsw
from aiohttp import web

from dingbridge.errors import BridgeError
from dingbridge.health_server import json_object, json_response
from dingbridge.ingress.errors import JournalLocked, JournalUnavailable
from dingbridge.ingress.journal.directory import (
    CURRENT,
    JournalFolder,
    exclusive_locks,
    folders,
    ingress_lock,
    relay_lock,
)
from dingbridge.ingress.journal.importing import Importer
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.writer import Journal
from dingbridge.settings import IngressSettings

_HOURS_MAX = 1_000_000
"""A century: so that it can be reckoned with in milliseconds."""

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def retention(settings: IngressSettings) -> Retention:
    """For how long the journal keeps what is published, and dedupe keys, by the settings."""
    return Retention(callbacks_s=settings.journal_retention_hours * 3600, seen_s=settings.dedupe_window_s)


def older_than_s(settings: IngressSettings, options: dict[str, Any]) -> float:
    """What ``prune`` is asked for: ``older_than_hours`` counts from Kafka's acknowledgement; 0 deletes all
    that is published. Raises ``BridgeError``."""
    hours = options.get("older_than_hours")
    if hours is None:
        hours = settings.journal_retention_hours
    if not isinstance(hours, int | float) or isinstance(hours, bool) or not 0 <= hours <= _HOURS_MAX:
        raise BridgeError(f"older_than_hours must be a number of hours from 0 to {_HOURS_MAX}")
    return hours * 3600


def verbs(settings: IngressSettings, journal: Journal, importer: Importer) -> dict[str, Verb]:
    """The verbs by name. Each takes a JSON object and returns one; raises ``BridgeError``, or ``apsw.Error``
    or ``OSError`` for the disk of a folder that is imported."""

    async def prune(options: dict[str, Any]) -> dict[str, Any]:
        older = older_than_s(settings, options)
        result: dict[str, Any] = {"deleted": await journal.prune(older)}
        if removed := await importer.remove(older, forget=options.get("damaged") is True):
            result["removed_folders"] = removed
        return result

    async def bring_in(options: dict[str, Any]) -> dict[str, Any]:
        imported = unread = 0
        for folder in _folders_in(Path(str(options.get("folder", "")))):
            locks = [ingress_lock(folder.path.parent)] if folder.name == CURRENT else []
            try:
                with exclusive_locks(*locks, relay_lock(folder.path)):
                    state = await importer.bring_in(folder)
            except JournalLocked as error:  # it is not gone
                raise BridgeError(str(error)) from None
            imported, unread = imported + state.rows, unread + state.unread
        return {"imported": imported, "unread": unread}

    return {"prune": prune, "import": bring_in}


def _folders_in(where: Path) -> list[JournalFolder]:
    where = where.resolve()  # the import's note has the folder's name
    here = [JournalFolder(where)] if JournalFolder(where).journal.exists() else folders(where)
    if not here:
        raise BridgeError(
            f"there is no journal in {where}; name a JOURNAL_DIR, or a folder with a journal.db"
        )
    return here


def routes(verbs: Mapping[str, Verb]) -> list[web.RouteDef]:
    """Those of the private listener."""
    return [web.post(f"/journal/{name}", _handler(verb)) for name, verb in verbs.items()]


def _handler(verb: Verb) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        options = await json_object(request)
        try:
            return json_response(await verb(options))
        except ValueError as error:  # of a folder's name
            return json_response({"error": str(error)}, 400)
        except JournalUnavailable as error:
            return json_response({"error": str(error)}, 503)
        except (BridgeError, apsw.Error, OSError) as error:
            return json_response({"error": str(error)}, 409)

    return handle
