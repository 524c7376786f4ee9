"""The app as a third-party suite: its ticket, which is pushed, and the token of a company by it.

Here the suite's key and secret are the app's, and the one company has authorised it. By
event-subscription-push-suite-ticket-event and obtain-the-access_token-of-the-authorized-enterprise. An old
ticket is 853005 (opendingtalk/eapp-isv-quick-start-java#7); DingTalk's codes for a wrong key, signature or
company are not known, 88 stands for them.
"""

import hashlib
import hmac
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Final

from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.errors import PlatformError
from dingbridge.simulator.tokens import AccessTokens

PATH: Final = "/service/get_corp_token"


class Suite:
    """``ticket`` is the one that counts: the latest, whether its push arrives or not."""

    def __init__(
        self, key: str, secret: str, corp_id: str, tokens: AccessTokens, now_ms: Callable[[], int]
    ) -> None:
        self._key, self._secret, self._corp_id = key, secret, corp_id
        self._tokens, self._now_ms = tokens, now_ms
        self.ticket = ""

    def new_ticket(self) -> PlatformEvent:
        """The ticket before it is worth nothing from now on."""
        self.ticket, at_ms = secrets.token_hex(16), self._now_ms()
        payload = {
            "EventType": "suite_ticket",
            "SuiteKey": self._key,
            "SuiteTicket": self.ticket,
            "TimeStamp": at_ms,
        }
        return PlatformEvent("suite_ticket", payload, at_ms, self._corp_id)

    def corp_token(self, query: Mapping[str, str], corp_id: str) -> str:
        """Raises ``PlatformError``."""
        if query.get("accessKey") != self._key:
            raise PlatformError(88, "accessKey无效")
        ticket, timestamp = query.get("suiteTicket", ""), query.get("timestamp", "")
        if not self.ticket or ticket != self.ticket:
            raise PlatformError(853005, "签名中套件ticket参数无效")
        mac = hmac.new(self._secret.encode(), digestmod=hashlib.sha256)
        mac.update(timestamp.encode() + b"\n" + ticket.encode())
        expected = b64encode(mac.digest())
        if not hmac.compare_digest(expected, query.get("signature", "").encode()):
            raise PlatformError(88, "签名不匹配")
        if corp_id != self._corp_id:
            raise PlatformError(88, "企业未授权该套件")
        return self._tokens.issue(self._key, self._secret)
