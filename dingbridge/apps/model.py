"""What an app of DingTalk's is to us: a name, credentials for its callbacks, a key and secret for the API.

Values only; where they are read is ``dingbridge/settings/apps.py``'s, and the file of several
``dingbridge/apps/file.py``'s.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple

from dingbridge.errors import SettingsError

Mode = Literal["http", "stream"]
VARIABLE: Final = "DINGTALK_APPS_FILE"
OWNER_WORDS: Final = "is not an appKey, corpId or suiteKey"


class Form(NamedTuple):
    """The form of a value; ``words`` say what is wrong with another, and may name its ``{length}``, or its
    ``{value}`` if that is no secret."""

    pattern: re.Pattern[str]
    words: str

    def problem(self, value: str) -> str | None:
        """What is wrong with ``value``; None: nothing."""
        if self.pattern.fullmatch(value):
            return None
        return self.words.format(length=len(value), value=value[:80])


NAME: Final = Form(re.compile(r"[a-z0-9-]{1,64}"), "an app's name is 1 to 64 of a-z, 0-9 and -")
TOKEN: Final = Form(re.compile(r"[!-~]{1,64}"), "must be 1 to 64 printable ASCII characters without spaces")
AES_KEY: Final = Form(
    re.compile(r"[A-Za-z0-9]{43}"),
    "has {length} characters or others than A-Z a-z 0-9; an EncodingAESKey is exactly 43 of them",
)
CORP_ID: Final = Form(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"),
    "{value!r} is no corpId, as ding0123456789abcdef: 1 to 64 of A-Z a-z 0-9 _ and -",
)
CORP_ID_MISSING: Final = (
    "not set; it is the CorpId of the company that the app belongs to, on the front page of "
    "open-dev.dingtalk.com and in DingTalk's admin console"
)
OWNER: Final = Form(re.compile(r"[A-Za-z0-9._$@:-]{1,128}"), f"{{value!r}} {OWNER_WORDS}")

SAMPLE_CREDENTIALS = {
    "DINGTALK_TOKEN": "dingbridgeSampleToken1",
    "DINGTALK_AES_KEY": "dingbridge0sample0aes0key0not0secret0000000",
    "DINGTALK_OWNER_KEY": "dingsampleappkey01",
    "DINGTALK_APP_KEY": "dingsampleappkey01",
    "DINGTALK_APP_SECRET": "dingbridge-sample-secret-not-secret",
    "DINGTALK_CORP_ID": "dingcorpsample01",
}
"""What the local stack (simulator, demo, compose) uses. Public, therefore refused against DingTalk itself."""


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """What an app's callbacks are signed and encrypted with; accepted until ``until`` (``None``: no end)."""

    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    until: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """Names this pair without telling it: a digest over 256 random bits of key cannot be guessed."""
        return hashlib.sha256(f"dingbridge\0{self.token}\0{self.aes_key}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class App:
    """One app of one company. ``credentials``: the current ones first, then others that are still accepted,
    or already (``[apps.<name>.next]``); empty where only the Open API is wanted, and in Stream mode, which
    signs and encrypts nothing. ``corp_id``: the company that the app belongs to. ``mode``: how DingTalk
    delivers its events, the one choice in its console (slug configure-stream-push). ``suite``: a third-party
    app's suite. It has events of many companies, and nothing here calls the Open API as it."""

    name: str
    credentials: tuple[AppCredentials, ...]
    owner_keys: tuple[str, ...]
    app_key: str | None = None
    app_secret: str | None = field(default=None, repr=False)
    corp_id: str | None = None
    suite: bool = False
    mode: Mode = "http"

    def accepted(self, now: datetime) -> tuple[AppCredentials, ...]:
        """Those whose time has not run out at ``now``."""
        return tuple(pair for pair in self.credentials if pair.until is None or now < pair.until)

    @property
    def calls_api(self) -> bool:
        """Whether it can call the Open API. A suite would call by a ticket, in a company's name."""
        return bool(self.app_key and self.app_secret) and not self.suite

    def api_credentials(self) -> tuple[str, str]:
        """``(app key, app secret)``. Raises ``SettingsError`` when either is missing."""
        if not self.app_key or not self.app_secret:
            raise SettingsError(
                [f"{VARIABLE}: apps.{self.name}: has no app_key and app_secret (Client ID and Client Secret)"]
            )
        return self.app_key, self.app_secret
