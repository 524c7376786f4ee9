"""The callback at DingTalk: its registration, and the events that could not be delivered to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dingbridge.dingtalk.api.calls import Calls, a_list
from dingbridge.dingtalk.replies import boolean

REGISTER_TIMEOUT_S: Final = 30.0
"""register and update wait for DingTalk's own check of the URL."""


@dataclass(frozen=True, slots=True)
class CallbackRegistration:
    """What is registered at DingTalk: EventTypes, token, EncodingAESKey and URL."""

    tags: tuple[str, ...]
    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    url: str


@dataclass(frozen=True, slots=True)
class FailedPage:
    """One page of events that DingTalk could not deliver. ``items`` as DingTalk has them, often poor ones;
    what is no JSON object there stands as ``{"item": …}`` here."""

    items: list[dict[str, Any]] = field(repr=False)
    has_more: bool


class CallbackCalls(Calls):
    """Registration of the callback, and its failed list."""

    async def register_call_back(self, *, tags: Sequence[str], token: str, aes_key: str, url: str) -> None:
        """Register the callback URL for EventTypes ``tags`` (register-callback-events).

        DingTalk checks the URL before it answers, so the receiver must be up. Raises ``CallbackExists``,
        ``CallbackRefused``.
        """
        await self._set_call_back("register_call_back", tags, token, aes_key, url)

    async def update_call_back(self, *, tags: Sequence[str], token: str, aes_key: str, url: str) -> None:
        """Replace the registration, checked likewise (update-event-interface). Raises ``CallbackMissing``."""
        await self._set_call_back("update_call_back", tags, token, aes_key, url)

    async def _set_call_back(self, api: str, tags: Sequence[str], token: str, aes_key: str, url: str) -> None:
        body = {"call_back_tag": list(tags), "token": token, "aes_key": aes_key, "url": url}
        await self._call(api, "POST", f"/call_back/{api}", body, timeout_s=REGISTER_TIMEOUT_S)

    async def get_call_back(self) -> CallbackRegistration:
        """What is registered (query-subscribed-events). Raises ``CallbackMissing``."""
        reply = await self._call("get_call_back", "GET", "/call_back/get_call_back")
        tags = reply.get("call_back_tag")
        return CallbackRegistration(
            tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
            token=str(reply.get("token") or ""),
            aes_key=str(reply.get("aes_key") or ""),
            url=str(reply.get("url") or ""),
        )

    async def delete_call_back(self) -> None:
        """Remove what is registered (delete-an-event-callback-interface). Raises ``CallbackMissing``."""
        await self._call("delete_call_back", "GET", "/call_back/delete_call_back")

    async def failed_callbacks(self) -> FailedPage:
        """The next page, at most 200, of events that were given up
        (obtain-the-event-list-of-failed-push-messages).

        **Each call destroys at DingTalk the page that the call before it returned**, whoever made that.
        Therefore it is sent once: neither we nor the HTTP library send it again by ourselves, except after a
        refusal. After any other error, the page that it would have returned
        may be gone with the next call.
        """
        api = "get_call_back_failed_result"
        reply = await self._call(api, "GET", f"/call_back/{api}", once=True)
        return FailedPage(
            _items(a_list(api, reply.get("failed_list"))), boolean(reply.get("has_more")) or False
        )


def _items(values: list[Any]) -> list[dict[str, Any]]:
    return [value if isinstance(value, dict) else {"item": value} for value in values]
