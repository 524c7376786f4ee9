"""DingTalk's two lists of failed pushes, as one thing that a poller can read page by page.

``AppList`` (``get_call_back_failed_result``) is for any app; reading it destroys. ``IsvList``
(``callback/failrecord``) is for ISV apps; it keeps each push whole for 7 days until it is confirmed.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.callbacks import FailedPage
from dingbridge.dingtalk.error_codes import SYSTEM_BUSY
from dingbridge.dingtalk.errors import ApiError, Unavailable
from ingress.recovery.convert import Turned, turn_item, turn_record

DESTROYING_CALL: Final = "get_call_back_failed_result"
ISV_KEPT_S: Final = 7 * 86_400


class FailedPushes(Protocol):
    """One of the two lists. ``destroys``: a page that was not kept is gone with the next call."""

    destroys: ClassVar[bool]

    async def page(self) -> FailedPage:
        """The next page. Raises ``ApiError``."""
        ...

    async def kept(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """They are in the journal; DingTalk may forget them. Returns what it now forgets beside them, which
        is to be kept, too. Raises ``ApiError``."""
        ...

    def turn(self, item: Mapping[str, Any]) -> Turned:
        """What an item becomes."""
        ...


class AppList:
    """See the module."""

    destroys: ClassVar[bool] = True

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client

    async def page(self) -> FailedPage:
        return await self._client.failed_callbacks()

    async def kept(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return []  # the next call does it

    def turn(self, item: Mapping[str, Any]) -> Turned:
        return turn_item(item)


class IsvList:
    """See the module."""

    destroys: ClassVar[bool] = False

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client
        self._span = (0, 0)

    async def page(self) -> FailedPage:
        now = int(time.time())
        self._span = now - ISV_KEPT_S, now + 60
        return await self._client.failed_records(tags=(), begin_s=self._span[0], end_s=self._span[1])

    async def kept(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if not items or self._span == (0, 0):
            return []  # of a run that died: this one lists them once more, and confirms them then
        known = {item.get("id") for item in items}
        confirmed = await self._client.confirm_failed_records(
            tags=(), begin_s=self._span[0], end_s=self._span[1], size=len(items)
        )
        return [item for item in confirmed.items if item.get("id") not in known]

    def turn(self, item: Mapping[str, Any]) -> Turned:
        return turn_record(item)


def page_may_be_gone(error: ApiError) -> bool:
    """Whether DingTalk may have answered the call with a page that never arrived. A refusal that names its
    reason is none; nor is the firewall's, which stands before the platform."""
    if not isinstance(error, Unavailable) or error.unsent or error.api != DESTROYING_CALL:
        return False
    return error.errcode in (None, SYSTEM_BUSY) and error.retry_after_s is None
