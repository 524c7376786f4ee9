"""What an operator may ask of the ingress that holds the journal: ``POST /journal/<verb>`` on its private
listener.

``prune`` deletes what is published, ``recover`` reads the list of failed pushes. What is about parked records
is asked of the relay.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from dingbridge.errors import BridgeError
from dingbridge.health_server import json_response
from dingbridge.settings import IngressSettings
from ingress.errors import JournalUnavailable
from ingress.journal.retention import Retention, remove_drained
from ingress.journal.writer import Journal

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
    recover: Verb,
) -> list[web.RouteDef]:
    """The routes of the private listener."""

    async def prune(options: dict[str, Any]) -> dict[str, Any]:
        forget = options.get("damaged") is True
        result: dict[str, Any] = {"deleted": await journal.prune(older_than_s(settings, options))}
        removed = await asyncio.to_thread(
            remove_drained, settings.journal_path, older_than_s(settings, options), forget=forget
        )
        return {**result, "removed_folders": removed} if removed else result

    verbs: dict[str, Verb] = {"prune": prune, "recover": recover}
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
        except (BridgeError, OSError) as error:
            return json_response({"error": str(error)}, 409)

    return handle
