"""The callback: its registration, and the two lists of events that could not be delivered."""

import time
from collections.abc import Callable
from typing import Any, Final

from dingbridge.simulator.api.calls import Routes
from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.errors import PlatformError
from dingbridge.simulator.pushes.failed import FailedList, FailedRecords
from dingbridge.simulator.pushes.registration import Callbacks

_RECORDS_PAGE: Final = 100


class CallbackCalls:
    """The calls: register-callback-events and its sisters, obtain-the-event-list-of-failed-push-messages, and
    for ISV apps dingtalk.oapi.callback.failrecord.list and .confirm."""

    def __init__(
        self,
        callbacks: Callbacks,
        failed: FailedList,
        records: FailedRecords,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._callbacks = callbacks
        self._failed = failed
        self._records = records
        self._clock = clock

    def routes(self) -> Routes:
        return [
            ("POST", "/call_back/register_call_back", self._register),
            ("POST", "/call_back/update_call_back", self._update),
            ("GET", "/call_back/get_call_back", self._get),
            ("GET", "/call_back/delete_call_back", self._delete),
            ("GET", "/call_back/get_call_back_failed_result", self._failed_result),
            ("POST", "/topapi/callback/failrecord/list", self._failed_records),
            ("POST", "/topapi/callback/failrecord/confirm", self._confirm),
        ]

    async def _register(self, call: Call) -> Answer:
        await self._callbacks.register(call.body)
        return {}

    async def _update(self, call: Call) -> Answer:
        await self._callbacks.update(call.body)
        return {}

    async def _get(self, call: Call) -> Answer:
        registration = self._callbacks.get()
        target = registration.target
        return {
            "call_back_tag": registration.tags,
            "token": target.token,
            "aes_key": target.aes_key,
            "url": target.url,
        }

    async def _delete(self, call: Call) -> Answer:
        self._callbacks.delete()
        return {}

    async def _failed_result(self, call: Call) -> Answer:
        items, more = self._failed.read()
        return {"failed_list": items, "has_more": more}

    async def _failed_records(self, call: Call) -> Answer:
        req = call.inner("req")
        tags = req.body.get("tags") or []
        cursor, size = req.number("cursor", 0), req.number("page_size", _RECORDS_PAGE)
        if not isinstance(tags, list) or cursor < 0 or not 1 <= size <= _RECORDS_PAGE:
            raise PlatformError(400002, f"无效的参数: page_size为1到{_RECORDS_PAGE}")
        page, more = self._records.page(
            tags=frozenset(map(str, tags)),
            confirmed=req.number("status", 1) == 0,
            begin_ms=req.number("begin_time") * 1000,
            end_ms=req.number("end_time") * 1000,
            after=cursor,
            size=size,
            now_ms=int(self._clock() * 1000),
        )
        if req.body.get("confirm") in (True, "true"):
            self._records.confirm(record["id"] for record in page)
        result: dict[str, Any] = {"list": page, "has_more": more}
        return {"result": result}

    async def _confirm(self, call: Call) -> Answer:
        ids = call.body.get("id_list")
        numbers = ids.strip("[]").split(",") if isinstance(ids, str) else ids
        try:
            self._records.confirm(int(number) for number in numbers or ())
        except (TypeError, ValueError):
            raise PlatformError(400002, "无效的参数: id_list") from None
        return {"result": True}
