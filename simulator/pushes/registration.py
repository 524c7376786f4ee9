"""The one callback of the app: its validation, the synchronous ``check_url``, and which tags it wants.

Token, AES key and URL by register-callback-events; error codes by server-api-error-codes-1.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from dingbridge.events.catalogue import known
from dingbridge.simulator.errors import PlatformError
from dingbridge.simulator.pushes.push import Attempt, Pusher, Target

CHECK_URL: Final = b'{"EventType":"check_url"}'

_TAG_NOT_REGISTRABLE: Final = frozenset({"check_url", "check_create_suite_url", "check_update_suite_url"})


@dataclass(frozen=True, slots=True)
class Registration:
    """What is registered: the tags as they were given, and where their events go."""

    tags: tuple[str, ...]
    target: Target


class Callbacks:
    """``register_call_back`` and its sisters. Each raises ``PlatformError`` with DingTalk's code.

    ``owner_key`` goes into every push: which one DingTalk uses depends on the kind of app. ``on_registered``
    is called when a callback came to stand, or another instead.
    """

    def __init__(
        self, pusher: Pusher, owner_key: str, *, on_registered: Callable[[], None] = lambda: None
    ) -> None:
        self._pusher = pusher
        self._on_registered = on_registered
        self.owner_key = owner_key
        self.current: Registration | None = None

    def wants(self, event_type: str) -> bool:
        """In Stream mode the types are ticked in the console: here, all of them."""
        if self._pusher.stream is not None:
            return True
        return self.current is not None and event_type in self.current.tags

    async def register(self, body: Mapping[str, Any]) -> None:
        if self.current is not None:
            raise PlatformError(71006, "回调地址已经存在")
        registration = self._parse(body)
        await self._check(registration.target)
        if self.current is not None:  # by a second call, while the first was checking
            raise PlatformError(71006, "回调地址已经存在")
        self._set(registration)

    async def update(self, body: Mapping[str, Any]) -> None:
        self.get()
        registration = self._parse(body)
        await self._check(registration.target)
        self._set(registration)

    def get(self) -> Registration:
        if self.current is None:
            raise PlatformError(71007, "回调地址不存在")
        return self.current

    def delete(self) -> None:
        self.get()
        self._set(None)

    def _set(self, registration: Registration | None) -> None:
        self.current = registration
        self._pusher.target = registration.target if registration else None
        if registration is not None:
            self._on_registered()

    def _parse(self, body: Mapping[str, Any]) -> Registration:
        tags, token, aes_key, url = (body.get(k) for k in ("call_back_tag", "token", "aes_key", "url"))
        if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
            raise _missing("call_back_tag")
        for tag in tags:
            if not known(tag) or tag in _TAG_NOT_REGISTRABLE:
                raise PlatformError(71008, f"回调call_back_tag不在有效范围内: {tag}")
        if not isinstance(token, str) or not 6 <= len(token) <= 63:
            raise _missing("token")
        if not isinstance(aes_key, str) or not re.fullmatch(r"[A-Za-z0-9]{43}", aes_key):
            raise _missing("aes_key")
        if not isinstance(url, str) or not url:
            raise _missing("url")
        try:
            parts = urlsplit(url)
            well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            well_formed = False
        if not well_formed or re.search(r"\s", url):
            raise PlatformError(71011, "传入的url参数不是合法的url格式")
        host = (parts.hostname or "").rstrip(".").lower()
        if host == "dingtalk.com" or host.endswith(".dingtalk.com"):
            raise PlatformError(71013, "此域名或IP不能注册或者接收回调事件")
        return Registration(tuple(dict.fromkeys(tags)), Target(url, token, aes_key, self.owner_key))

    async def _check(self, target: Target) -> None:
        attempt = await self._pusher.attempt(target, CHECK_URL)
        if attempt.outcome == "success":
            return
        if attempt.outcome.startswith("reply_"):
            raise PlatformError(71009, f"返回文本非success，{_reply_words(attempt.outcome)}")
        raise PlatformError(71012, f"url地址访问异常，{_access_words(attempt)}")


def _missing(name: str) -> PlatformError:
    return PlatformError(71010, f"POST的JSON数据不包含所需要的参数字段或包含的参数格式非法: {name}")


def _access_words(attempt: Attempt) -> str:
    match attempt.outcome:
        case "timeout":
            return "错误原因:SocketTimeoutException: Read timed out"
        case "redirect":
            return f"错误原因:不允许3xx跳转，http statusCode is:{attempt.status}"
        case "connection":
            return "错误原因:ConnectException: Connection refused"
        case _:
            return f"错误原因:http statusCode is:{attempt.status}"


def _reply_words(outcome: str) -> str:
    return {
        "reply_not_json": "返回内容不是JSON",
        "reply_fields": "返回JSON缺少msg_signature/timeStamp/nonce/encrypt",
        "reply_signature": "返回签名不匹配",
        "reply_cipher": "返回的encrypt解密失败",
        "reply_owner": "返回的encrypt中ownerKey不匹配",
    }.get(outcome, "解密后的文本不是success")
