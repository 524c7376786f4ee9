"""DingTalk's own login (host login.dingtalk.com): its page, the code, the person's token, who they are.

By "obtain-identity-credentials", "obtain-user-token" and "dingtalk-retrieve-user-information", 2026-08. The
person who logs in is chosen on the page, or with ``userid=``; anybody has DingTalk, also who is of no company
here. A code that is over or was used is ``invalidParameter.authCode.notFound``; how long one lasts is not
documented.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import islice
from typing import Final
from urllib.parse import urlencode, urlsplit

from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.company.people import User
from dingbridge.simulator.errors import NewerError
from dingbridge.simulator.tokens import VALID_S

PAGE: Final = "/oauth2/auth"
TOKEN: Final = "/v1.0/oauth2/userAccessToken"  # noqa: S105
ME: Final = "/v1.0/contact/users/me"
STRANGER: Final = "stranger"
"""The ``userid`` of somebody who is of no company here."""
CODE_VALID_S: Final = 300.0
_SHOWN: Final = 50
_KEPT: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Person:
    unionid: str
    nick: str
    until: float


class PersonalLogin:
    """Logins by the app of ``client_id``."""

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        users: Mapping[str, User],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._users, self._clock = (client_id, client_secret), users, clock
        self._stranger = secrets.token_hex(11) + "iE"
        self._codes: dict[str, _Person] = {}
        self._tokens: dict[str, _Person] = {}

    def page(self, query: Mapping[str, str]) -> tuple[str, str]:
        """``(address, "")`` where the browser is sent, or ``("", HTML)`` of the page to choose a person on.
        Raises ``NewerError``."""
        back = query.get("redirect_uri", "")
        if query.get("client_id") != self._app[0] or urlsplit(back).scheme not in ("http", "https"):
            raise NewerError("invalidParameter", "client_id或redirect_uri无效")
        if query.get("response_type") != "code" or "openid" not in query.get("scope", "").split():
            raise NewerError("invalidParameter", "response_type或scope无效")
        userid, state = query.get("userid"), {"state": query.get("state", "")}
        if userid is None:
            return "", self._choice(query)
        user = self._users.get(userid)
        if user is None and userid != STRANGER:
            return _with(back, {"error": "access_denied", **state}), ""
        unionid, nick = (user.unionid, user.name) if user else (self._stranger, "路人")
        code = secrets.token_hex(16)
        _keep(self._codes, code, _Person(unionid, nick, self._clock() + CODE_VALID_S))
        return _with(back, {"authCode": code, **state}), ""

    def exchange(self, call: Call) -> Answer:
        """The token of the person whose code that is; once. Raises ``NewerError``."""
        given = f"{call.text('clientId')}\0{call.text('clientSecret')}"
        if not secrets.compare_digest(given.encode(), "\0".join(self._app).encode()):
            raise NewerError("invalidClientIdOrSecret", "无效的clientId或者clientSecret")
        if call.text("grantType") != "authorization_code":
            raise NewerError("invalidParameter", "grantType无效")
        person = self._codes.pop(call.text("code"), None)
        if person is None or self._clock() >= person.until:
            raise NewerError("invalidParameter.authCode.notFound", "不存在的临时授权码")
        token = secrets.token_hex(16)
        _keep(self._tokens, token, _Person(person.unionid, person.nick, self._clock() + VALID_S))
        return {"accessToken": token, "refreshToken": secrets.token_hex(16), "expireIn": VALID_S}

    def me(self, token: str) -> Answer:
        """Whose token that is. Raises ``NewerError``."""
        person = self._tokens.get(token)
        if person is None or self._clock() >= person.until:
            raise NewerError("InvalidAuthentication", "不合法的access_token")
        return {
            "nick": person.nick,
            "unionId": person.unionid,
            "openId": f"o{person.unionid}",
            "avatarUrl": "",
        }

    def expire(self) -> None:
        """Every code is over from now on."""
        self._codes.clear()

    def _choice(self, query: Mapping[str, str]) -> str:
        people = [(user.userid, user.name) for user in islice(self._users.values(), _SHOWN)]
        links = "".join(
            f'<li><a href="{PAGE}?{escape(urlencode({**query, "userid": userid}))}">{escape(name)}</a></li>'
            for userid, name in [*people, (STRANGER, "路人 (other company)"), ("-", "拒绝 (refuse)")]
        )
        return (
            f'<!doctype html><html lang="zh-CN"><title>钉钉</title><h1>钉钉登录</h1><ul>{links}</ul></html>'
        )


def _with(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(query)}"


def _keep(there: dict[str, _Person], key: str, person: _Person) -> None:
    there[key] = person
    if len(there) > _KEPT:
        del there[next(iter(there))]
