"""DingTalk's two lists of failed pushes, which a poller reads page by page.

``AppList`` (``get_call_back_failed_result``) is for any app; a page makes DingTalk forget what it returned
before. ``IsvList`` (``callback/failrecord``) is for ISV apps; it keeps each push whole for 7 days, until that
is confirmed. All calls raise ``ApiError``.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.callbacks import FailedPage
from dingbridge.dingtalk.errors import ApiError, Unavailable
from dingbridge.events.envelope import FAILED_LIST, FAILED_RECORD
from ingress.recovery.convert import convert_item, convert_record

LIST_CALL: Final = "get_call_back_failed_result"
CONFIRM_CALL: Final = "callback/failrecord/list"
ISV_KEPT_S: Final = 7 * 86_400


class AppList:
    """See the module."""

    via: Final = FAILED_LIST
    convert = staticmethod(convert_item)

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client

    async def page(self) -> FailedPage:
        return await self._client.failed_callbacks()


class IsvList:
    """See the module."""

    via: Final = FAILED_RECORD
    convert = staticmethod(convert_record)

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client
        self._span = (0, 0)

    async def page(self) -> FailedPage:
        now = int(time.time())
        self._span = now - ISV_KEPT_S, now + 60
        return await self._client.failed_records(tags=(), begin_s=self._span[0], end_s=self._span[1])

    async def confirm(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """These are in the journal, DingTalk may forget them. Returns what it has forgotten beside them,
        which must be kept, too."""
        known = {item.get("id") for item in items}
        confirmed = await self._client.confirm_failed_records(
            tags=(), begin_s=self._span[0], end_s=self._span[1], size=len(items)
        )
        return [item for item in confirmed.items if item.get("id") not in known]


def answer_may_be_lost(error: ApiError) -> bool:
    """Whether DingTalk may have carried out a call that deletes, while its answer never arrived. A refusal
    that names its reason deleted nothing; nor did the firewall's, which stands before the platform."""
    if not isinstance(error, Unavailable) or error.unsent:
        return False
    return error.about != "address" and error.api in (LIST_CALL, CONFIRM_CALL)
