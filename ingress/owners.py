"""Which owner keys DingTalk used, since this process began: what `dingbridge doctor` asks the ingress for.

An owner key is an id, no secret. Only what a token of ours signed gets here, so nobody else can fill it.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiohttp import web

from dingbridge.health_server import json_response

PATH: Final = "/owners"
KEPT: Final = 50
"""Pairs of app and owner key kept at most; beyond, the one that was not seen for the longest goes."""


class Owners:
    """Counts by app and owner key. ``clock`` is epoch s."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], dict[str, Any]] = {}

    def accepted(self, app: str, owner: str) -> None:
        """A callback for ``owner`` was kept."""
        self._note(app, owner)["accepted"] += 1

    def refused(self, app: str, owner: str) -> None:
        """A callback was refused, because ``owner`` is none of ours."""
        self._note(app, owner)["refused"] += 1

    def as_json(self) -> dict[str, Any]:
        """``{"owners": [{"app", "owner", "accepted", "refused", "last"}]}``; ``last`` is epoch s."""
        return {"owners": list(self._seen.values())}

    def route(self) -> web.RouteDef:
        """Its route on the private listener; it only reads."""

        async def show(request: web.Request) -> web.Response:
            return json_response(self.as_json())

        return web.get(PATH, show)

    def _note(self, app: str, owner: str) -> dict[str, Any]:
        key = app, owner
        fresh = {"app": app, "owner": owner, "accepted": 0, "refused": 0}
        entry = self._seen[key] = self._seen.pop(key, fresh)  # to the end: the latest
        entry["last"] = round(self._clock(), 3)
        if len(self._seen) > KEPT:
            del self._seen[next(iter(self._seen))]
        return entry


def joint(answers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What several workers answered, as one."""
    total: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in (entry for answer in answers for entry in answer["owners"]):
        key = entry["app"], entry["owner"]
        known = total.setdefault(key, {**entry, "accepted": 0, "refused": 0})
        known["accepted"] += entry["accepted"]
        known["refused"] += entry["refused"]
        known["last"] = max(known["last"], entry["last"])
    return {"owners": list(total.values())}
