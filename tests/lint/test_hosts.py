"""docs/guide/real-app.md: the hosts to allow are those of the table that the clients' defaults come from."""

import re

import pytest

from dingbridge.console.access.settings import AccessSettings
from dingbridge.outgoing.hosts import LOGIN, NEW_API, OLD_API, OUTGOING, STREAM
from dingbridge.settings import IngressSettings
from tests.support.documents import ROOT, prose


@pytest.mark.parametrize(
    ("page", "title", "yes"),
    [("real-app.md", "Out of your network", "yes"), ("real-app.zh-CN.md", "出网", "要")],
)
def test_the_guide_has_every_host_that_is_called(page: str, title: str, yes: str) -> None:
    section = prose(ROOT / "docs" / "guide" / page).split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w.-]+)` \| (\S+) \| (\S+) \|", section, re.MULTILINE)
    assert [(name, http == yes, stream == yes) for name, http, stream in rows] == list(OUTGOING)


@pytest.mark.parametrize(
    ("base", "new", "login"),
    [
        (OLD_API, NEW_API, LOGIN),
        ("https://oapi.dingtalk.io", "https://api.dingtalk.io", "https://login.dingtalk.io"),
        ("https://dingtalk.example.com", "https://dingtalk.example.com", "https://dingtalk.example.com"),
    ],
)
def test_the_other_hosts_belong_to_the_old_apis(base: str, new: str, login: str) -> None:
    ingress = IngressSettings.model_construct(dingtalk_api_base=base)
    assert ingress.new_api_base == new
    assert AccessSettings(dingtalk_api_base=base).dingtalk_hosts == (login, new)
    own = IngressSettings.model_construct(dingtalk_api_base=base, dingtalk_new_api_base="https://n.example")
    assert own.new_api_base == "https://n.example"
    elsewhere = {"dingtalk_new_api_base": "https://n.example", "dingtalk_login_base": "https://l.example"}
    found = AccessSettings(dingtalk_api_base=base, **elsewhere).dingtalk_hosts
    assert found == ("https://l.example", "https://n.example")


def test_the_defaults_are_of_the_table() -> None:
    settings = IngressSettings.model_construct()
    called = [settings.dingtalk_api_base, settings.new_api_base, STREAM]
    assert [f"https://{host.name}" for host in OUTGOING] == called
