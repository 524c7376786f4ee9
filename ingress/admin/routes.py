"""An operator's verbs on the journal: ``POST /journal/<verb>`` on the private listener of the ingress that
holds it.

``drain`` takes the callbacks of another folder in, ``retry`` tries what is parked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import apsw
from aiohttp import web

from dingbridge.errors import BridgeError
from dingbridge.health_server import json_object, json_response
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.drain import Drainer, folders_in
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.relay.relay import Relay
from dingbridge.settings import IngressSettings

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def retention(settings: IngressSettings) -> Retention:
    """For how long the journal keeps what is published, and dedupe keys, by the settings."""
    return Retention(callbacks_s=settings.journal_retention_hours * 3600, seen_s=settings.dedupe_window_s)


def verbs(drainer: Drainer, relay: Relay) -> dict[str, Verb]:
    """The verbs by name. Each takes a JSON object and returns one; raises ``BridgeError``, or ``apsw.Error``
    or ``OSError`` for the disk of a folder that is drained."""

    async def drain(options: dict[str, Any]) -> dict[str, Any]:
        kept = unreadable = 0
        paths = await asyncio.to_thread(folders_in, Path(str(options.get("folder", ""))))
        async with drainer.hold(paths):  # all of them, before anything is read
            for path in paths:
                state = await drainer.drain(path)
                kept, unreadable = kept + state.kept, unreadable + state.unreadable
        return {"kept": kept, "unreadable": unreadable}

    async def retry(options: dict[str, Any]) -> dict[str, Any]:
        relay.retry()
        return {"status": "trying what is parked; see `dingbridge journal stats`"}

    return {"drain": drain, "retry": retry}


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
