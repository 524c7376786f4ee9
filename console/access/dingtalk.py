"""Login by DingTalk: its own form of OAuth 2, whose token call takes JSON and gives no ID token.

By "obtain-identity-credentials", "obtain-user-token" and "dingtalk-retrieve-user-information", 2026-08. It
proves a unionid and nothing of a company: anybody with DingTalk can get this far. Who may come in, and as
what, is in the users file, by unionid, in entries without a password.
"""

from collections.abc import Mapping
from typing import Final

from yarl import URL

from dingbridge.console.access.provider import Begun, LoginRefused, ProviderError, ask, word
from dingbridge.console.access.sessions import LIFETIME_S
from dingbridge.console.access.settings import AccessSettings
from dingbridge.console.access.users import User, UsersFile

TOKEN_PATH: Final = "/v1.0/oauth2/userAccessToken"  # noqa: S105
ME_PATH: Final = "/v1.0/contact/users/me"
CODE_OVER: Final = "invalidParameter.authCode.notFound"
"""A code that is over, was used, or never was."""


class DingTalk:
    """The app of CONSOLE_DINGTALK_CLIENT_ID."""

    name = "dingtalk"
    title = "DingTalk 钉钉"
    lifetime_s: float = LIFETIME_S
    in_file = True

    def __init__(self, settings: AccessSettings, users: UsersFile) -> None:
        self._settings, self._users = settings, users
        self._login, self._api = settings.dingtalk_hosts
        self._client_id = settings.console_dingtalk_client_id or ""

    async def address(self, begun: Begun, back: str) -> str:
        """See ``Provider``."""
        query = {"response_type": "code", "client_id": self._client_id, "redirect_uri": back}
        more = {"scope": "openid", "prompt": "consent", "state": begun.state}
        return str(URL(f"{self._login}/oauth2/auth").with_query(query | more))

    async def user(self, query: Mapping[str, str], begun: Begun, back: str) -> User:
        """See ``Provider``. Raises ``UsersError``, too."""
        code = query.get("authCode") or query.get("code")
        if "error" in query or not code:
            raise LoginRefused("login.refused_there", provider=self.title, code=word(query.get("error")))
        unionid = await self._unionid(await self._token(code))
        found = self._users.find(unionid)
        if found is None or found[1]:  # who has a password logs in by it
            raise LoginRefused("login.unknown_here", who=unionid, provider=self.title)
        return found[0]

    async def _token(self, code: str) -> str:
        secret = self._settings.console_dingtalk_client_secret
        body = {
            "clientId": self._client_id,
            "clientSecret": secret.get_secret_value() if secret is not None else "",
            "code": code,
            "grantType": "authorization_code",
        }
        status, values = await ask("POST", self._api + TOKEN_PATH, json=body)
        if values.get("code") == CODE_OVER:
            raise LoginRefused("login.code_over", provider=self.title)
        token = values.get("accessToken")
        if status != 200 or not isinstance(token, str):
            raise ProviderError(f"{TOKEN_PATH} of DingTalk answers {status} {word(values.get('code'))}")
        return token

    async def _unionid(self, token: str) -> str:
        """Needs the app's permission ``Contact.User.Read``."""
        headers = {"x-acs-dingtalk-access-token": token, "Content-Type": "application/json"}
        status, values = await ask("GET", self._api + ME_PATH, headers=headers)
        unionid = values.get("unionId")
        if status != 200 or not isinstance(unionid, str) or not unionid:
            raise ProviderError(f"{ME_PATH} of DingTalk answers {status} {word(values.get('code'))}")
        return unionid
