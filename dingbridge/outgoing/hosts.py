"""DingTalk's hosts that we call: defaults of settings, and the table of hosts in docs/guide/real-app.md."""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

OLD_API: Final = "https://oapi.dingtalk.com"
NEW_API: Final = "https://api.dingtalk.com"
"""DingTalk serves its new API (``/v1.0/…``) at a host of its own; a simulator serves all at one."""
STREAM: Final = "https://wss-open-connection.dingtalk.com"
"""Where ``connections/open`` leads (developerpedia's faq.md on Stream)."""
LOGIN: Final = "https://login.dingtalk.com"
"""DingTalk's login page, which browsers open and we never call."""


class Host(NamedTuple):
    """A host that this machine must reach at port 443, and which ways of receiving events need it."""

    name: str
    http: bool
    stream: bool


OUTGOING: Final = tuple(
    Host(urlsplit(address).hostname or "", http, stream)
    for address, http, stream in ((OLD_API, True, True), (NEW_API, True, True), (STREAM, False, True))
)
_OVERSEAS: Final = ".dingtalk.io"


def of_dingtalk(address: str) -> bool:
    """Whether ``address`` is at one of DingTalk's own domains."""
    name = f".{(urlsplit(address).hostname or '').rstrip('.').lower()}"
    return name.endswith((".dingtalk.com", _OVERSEAS))


def beside(base: str, host: str) -> str:
    """``host`` (``NEW_API`` or ``LOGIN``) as it belongs to the old API at ``base``: of the same domain where
    that is DingTalk's, else ``base`` itself, which then serves all."""
    if not of_dingtalk(base):
        return base
    overseas = (urlsplit(base).hostname or "").rstrip(".").lower().endswith(_OVERSEAS)
    return host.replace(".dingtalk.com", _OVERSEAS) if overseas else host
