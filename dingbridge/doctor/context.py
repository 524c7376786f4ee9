"""What the checks work on: one stack, its settings, and what was seen of it so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.dingtalk.errors import ApiError, CallbackMissing
from dingbridge.doctor.checks import ingress, kafka
from dingbridge.doctor.checks.settings import Part
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, load_apps, with_failed_lists
from dingbridge.worker.api.budget import ApiCalls

NO_APP: Final = App("", (), ())
"""Stands where the app is not known; only checks that need none are run."""


@dataclass
class Context:
    """``credentials`` is ``None`` in Stream mode and in a consumer's own environment, ``client`` if the Open
    API cannot be called; ``url`` was given by hand; ``in_background``: checked again and again, so dead
    letters are counted without reading them; ``wanted``: the parts that were named by hand."""

    settings: IngressSettings
    app: App
    credentials: Credentials | None
    consumers: Sequence[Part]
    with_ingress: bool
    url: str | None
    session: aiohttp.ClientSession
    client: DingTalkClient | None
    calls: ApiCalls
    in_background: bool = False
    wanted: Sequence[str] = ()
    of_kafka: kafka.Seen = field(default_factory=kafka.Seen)
    of_ingress: ingress.Seen | None = None
    _registration: CallbackRegistration | ApiError | None = None
    _asked: bool = False

    @property
    def has_app(self) -> bool:
        return self.app is not NO_APP

    @property
    def recovers(self) -> bool:
        """Whether the ingress reads the failed list of this app by itself."""
        if not self.has_app:
            return False
        read, _ = with_failed_lists(load_apps(self.settings))
        return self.with_ingress and self.settings.recovery_every_minutes > 0 and self.app.name in read

    async def registration(self) -> CallbackRegistration | ApiError | None:
        """What is registered by API, asked for once; ``None`` for nothing, an error when it is not known."""
        if self.client is not None and not self._asked:
            self._asked = True
            try:
                self._registration = await self.client.get_call_back()
            except CallbackMissing:
                pass
            except ApiError as error:
                self._registration = error
        return self._registration
