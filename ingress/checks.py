"""Which checks of the callback URL came here: remembered in memory, told on the private listener.

``dingbridge callback`` and ``dingbridge doctor`` push a check with a nonce to the public URL
(``dingbridge/dingtalk/self_push.py``) and ask here whether it arrived. The public listener says nothing of
it: its answer to such a check is the one that DingTalk's own gets.
"""

from collections import OrderedDict
from typing import Final

from aiohttp import web

from dingbridge.health_server import json_response

KEPT: Final = 64
PATH: Final = "/checks/{nonce}"


class SeenChecks:
    """The last ``KEPT`` nonces, each with the app whose credentials fitted."""

    def __init__(self) -> None:
        self._apps: OrderedDict[str, str] = OrderedDict()

    def saw(self, nonce: str, app: str) -> None:
        self._apps[nonce] = app
        while len(self._apps) > KEPT:
            self._apps.popitem(last=False)

    def routes(self) -> list[web.RouteDef]:
        """``GET /checks/<nonce>``: ``{"seen": true, "app": …}``, or ``{"seen": false}``."""
        return [web.get(PATH, self._tell)]

    async def _tell(self, request: web.Request) -> web.Response:
        app = self._apps.get(request.match_info["nonce"])
        return json_response({"seen": False} if app is None else {"seen": True, "app": app})
