"""What the ingress has seen since it began, for ``dingbridge doctor`` and ``dingbridge callback``.

Two things, in memory and bounded, shown on the private listener alone: the owner keys that DingTalk used, and
the nonces of the URL checks that our own commands push (``dingbridge/dingtalk/self_push.py``). An owner key
is an id, no secret. Only requests that are signed with one of our tokens are noted, so a stranger cannot fill
the memory.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from dingbridge.health_server import json_response

OWNERS_KEPT: Final = 50
"""Pairs of app and owner key; beyond that, the one that was not seen for the longest goes."""
CHECKS_KEPT: Final = 64
"""Nonces of URL checks; beyond that, the oldest goes."""


class Diagnostics:
    """``clock`` gives epoch s."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._owners: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self._checks: OrderedDict[str, str] = OrderedDict()  # nonce to app

    def owner_accepted(self, app: str, owner: str) -> None:
        """A callback for ``owner`` was kept."""
        self._owner(app, owner)["accepted"] += 1

    def owner_refused(self, app: str, owner: str) -> None:
        """A callback was refused, because ``owner`` is none of ours."""
        self._owner(app, owner)["refused"] += 1

    def check_seen(self, nonce: str, app: str) -> None:
        """A URL check of our own arrived, signed with the credentials of ``app``."""
        self._checks[nonce] = app
        if len(self._checks) > CHECKS_KEPT:
            self._checks.popitem(last=False)

    def owners(self) -> list[dict[str, Any]]:
        """``[{"app", "owner", "accepted", "refused", "last"}]``, the latest last; ``last`` is epoch s."""
        return list(self._owners.values())

    def routes(self) -> list[web.RouteDef]:
        """``GET /owners``: ``{"owners": […]}``; ``GET /checks/<nonce>``: ``{"seen": true, "app": …}`` or
        ``{"seen": false}``."""

        async def owners(request: web.Request) -> web.Response:
            return json_response({"owners": self.owners()})

        async def check(request: web.Request) -> web.Response:
            app = self._checks.get(request.match_info["nonce"])
            return json_response({"seen": False} if app is None else {"seen": True, "app": app})

        return [web.get("/owners", owners), web.get("/checks/{nonce}", check)]

    def _owner(self, app: str, owner: str) -> dict[str, Any]:
        key = app, owner
        entry = self._owners.setdefault(key, {"app": app, "owner": owner, "accepted": 0, "refused": 0})
        entry["last"] = round(self._clock(), 3)
        self._owners.move_to_end(key)
        if len(self._owners) > OWNERS_KEPT:
            self._owners.popitem(last=False)
        return entry
