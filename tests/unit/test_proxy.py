"""Whatever leaves the company goes through the proxy of HTTPS_PROXY, and says what its refusals mean."""

import asyncio
import os
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from dingbridge.console.access.provider import ask
from dingbridge.consumers.approval.files import downloads
from dingbridge.consumers.approval.files.downloads import Downloads
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.forward.delivery import Sender
from dingbridge.consumers.forward.settings import Credentials
from dingbridge.dingtalk import crypto
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.dingtalk.gateway import Opening, open_connection
from dingbridge.dingtalk.replies import read
from dingbridge.dingtalk.transport import Transport
from dingbridge.doctor.checks import clock, url
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.ingress.stream.connection import connect
from dingbridge.outgoing.proxy import mistakes, proxy_of
from dingbridge.probe.recorder import Recorder
from dingbridge.settings import SAMPLE_CREDENTIALS, ConsumerSettings
from dingbridge.ssrf import AddressGuard
from tests.support import self_signed
from tests.support.forward_proxy import ForwardProxy
from tests.unit.forward.support import system
from tests.unit.library.test_addresses import INSIDE

NAME = "host.dingtalk.invalid"
"""It resolves nowhere (RFC 6761, 6.4)."""
USER, PASSWORD = "svc-7731", "p@ss:w/rd"
KEYS = crypto.Credentials(
    SAMPLE_CREDENTIALS["DINGTALK_TOKEN"], SAMPLE_CREDENTIALS["DINGTALK_AES_KEY"], ("dingsampleappkey01",)
)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def use(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """A proxy on this port, with credentials that no text may hold."""
    address = URL.build(scheme="http", user=USER, password=PASSWORD, host="127.0.0.1", port=port)
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, str(address))


async def _words(making: Awaitable[Any]) -> str:
    """All that a log could have of the error."""
    try:
        return str(await making)
    except (BridgeError, downloads._Failed) as error:
        return "".join(traceback.format_exception(error))


async def api(_: Path) -> str:
    async with DingTalkClient(app_key="k", app_secret="s", base=f"https://{NAME}") as client:
        return await _words(client.access_token())


async def new_api(_: Path) -> str:
    client = DingTalkClient(
        app_key="k", app_secret="s", base="http://127.0.0.1:1", new_base=f"https://{NAME}"
    )
    async with client:
        return await _words(open_connection(client._transport, "k", "s"))


async def stream_opening(_: Path) -> str:
    transport = Transport(f"https://{NAME}", None, timeout_s=10)
    try:
        return await _words(open_connection(transport, "k", "s"))
    finally:
        await transport.close()


async def stream_socket(_: Path) -> str:
    async with aiohttp.ClientSession() as session:
        return await _words(connect(session, Opening(f"wss://{NAME}/connect", "ticket")))


async def probe(_: Path) -> str:
    recorder = Recorder()
    async with recorder.session as session:
        client = DingTalkClient(app_key="k", app_secret="s", base=f"https://{NAME}", session=session)
        return await _words(client.access_token())


async def photo(folder: Path) -> str:
    nothing: Any = None
    work = Downloads(nothing, nothing, nothing, ApprovalSettings(archive_dir=folder))
    file: Any = SimpleNamespace(kind="photo", url=f"https://{NAME}/photo.png", file_size=None)
    return await _words(work._download(nothing, file, nothing))


async def forward(_: Path) -> str:
    sender = Sender(system(url=f"https://{NAME}/hook"), Credentials((), {}), AddressGuard())
    await sender.open()
    try:
        return (await sender.post("msg_1", "application/json", b"{}")).words
    finally:
        await sender.close()


async def login(_: Path) -> str:
    return await _words(ask("GET", f"https://{NAME}/.well-known/openid-configuration"))


async def doctor_clock(_: Path) -> str:
    async with aiohttp.ClientSession() as session:
        return str(await clock.look(session, f"https://{NAME}"))


async def doctor_url(_: Path) -> str:
    async with aiohttp.ClientSession() as session:
        return str(await url.look(session, f"https://{NAME}/callback", KEYS, "http://127.0.0.1:1"))


CLIENTS: list[Callable[[Path], Awaitable[str]]] = [
    *(api, new_api, stream_opening, stream_socket, probe, photo, forward, login, doctor_clock, doctor_url)
]


@pytest.mark.parametrize("client", CLIENTS)
async def test_each_client_that_leaves_asks_the_proxy(
    client: Callable[[Path], Awaitable[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ForwardProxy(credentials="other:one") as proxy:
        use(monkeypatch, proxy.port)
        words = await client(tmp_path)
        assert set(proxy.asked) == {f"CONNECT {NAME}:443"}
        assert f"the proxy http://127.0.0.1:{proxy.port} wants other credentials (HTTP 407)" in words
    words += await client(tmp_path)
    assert f"the proxy http://127.0.0.1:{proxy.port} takes no connection" in words
    assert USER not in words
    assert "p@ss" not in words
    assert "p%40ss" not in words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "answers HTTP 400 to CONNECT, so it is no proxy, or its port speaks TLS"),
        (403, f"does not connect to {NAME} (HTTP 403)"),
        (503, f"does not connect to {NAME} (HTTP 503)"),
    ],
)
async def test_a_proxy_s_own_answers_say_what_to_do(
    status: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<html><center>The plain HTTP request was sent to HTTPS port</center></html>"
    answer = f"HTTP/1.1 {status} No\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n{page}"
    async with ForwardProxy(answer=answer) as proxy:
        use(monkeypatch, proxy.port)
        assert words in await api(tmp_path)
        assert words in await doctor_clock(tmp_path)


async def test_a_call_that_the_proxy_did_not_let_out_was_not_carried_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ForwardProxy(credentials="other:one") as proxy:
        use(monkeypatch, proxy.port)
        transport = Transport(f"https://{NAME}", None, timeout_s=10)
        with pytest.raises(Unavailable) as caught:  # else OutcomeUnknown
            await transport.call("user/create", "POST", "/user/create", query={}, body={}, once=True)
        assert caught.value.unsent
        await transport.close()


@pytest.fixture
async def dingtalk() -> AsyncIterator[TestServer]:
    async def token(request: web.Request) -> web.Response:
        return web.json_response({"errcode": 0, "access_token": f"by {request.host}", "expires_in": 7200})

    app = web.Application()
    app.router.add_get("/gettoken", token)
    async with TestServer(app) as server:
        yield server


async def test_plain_http_goes_through_the_proxy_with_its_credentials(
    dingtalk: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"http://{NAME}:8090"
    async with ForwardProxy({NAME: dingtalk.port or 0}, credentials=f"{USER}:{PASSWORD}") as proxy:
        use(monkeypatch, proxy.port)
        async with DingTalkClient(app_key="k", app_secret="s", base=base) as client:
            assert await client.access_token() == f"by {NAME}:8090"
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with DingTalkClient(app_key="k", app_secret="s", base=base) as client:
            assert "wants other credentials (HTTP 407)" in await _words(client.access_token())
        assert {line.partition("?")[0] for line in proxy.asked} == {f"GET {base}/gettoken"}


@pytest.mark.parametrize("address", INSIDE)
async def test_a_proxy_opens_no_way_to_addresses_inside(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is not asked for what our own guard refuses."""
    monkeypatch.setattr(f"{__name__}.NAME", f"[{address}]" if ":" in address else address)
    if "%" in address:
        return
    async with ForwardProxy(credentials="other:one") as proxy:
        use(monkeypatch, proxy.port)
        assert "points inside" in await photo(tmp_path)
        assert "points inside" in await forward(tmp_path)
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("address", "spared", "through"),
    [
        ("https://oapi.dingtalk.com/gettoken", "", True),
        ("wss://wss-open-connection.dingtalk.com/connect", "", True),
        ("http://oapi.dingtalk.com", "", True),
        ("https://oapi.dingtalk.com", "dingtalk.com", False),
        ("https://oapi.dingtalk.com", "a.example, .DingTalk.com", False),
        ("https://oapi.dingtalk.com", "*.dingtalk.com", False),
        ("https://oapi.dingtalk.com", "talk.com", True),
        ("https://oapi.dingtalk.com", "api.dingtalk.com", True),
        ("https://oapi.dingtalk.com", "*", False),
        ("https://10.1.2.3", "10.0.0.0/8", False),
        ("https://10.1.2.3", "10.1.2.3", False),
        ("https://[fd00::1]", "fd00::/8", False),
        ("https://10.1.2.3", "192.168.0.0/16", True),
        # ours: listeners, and services beside us
        ("http://127.0.0.1:8081/readyz", "", False),
        ("http://[::1]:8081/readyz", "", False),
        ("http://localhost:8081/readyz", "", False),
        ("http://bridge.localhost", "", False),
        ("http://simulator:8090/gettoken", "", False),
    ],
)
def test_what_goes_through_the_proxy(
    address: str, spared: str, through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, 3128)
    monkeypatch.setenv("NO_PROXY", spared)
    assert (proxy_of(address) is not None) is through


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example:3128/", "http://proxy.example:3128"),
        ("http://proxy.example", "http://proxy.example"),
        ("http://user:p%40ss@proxy.example:8080", "http://user:p%40ss@proxy.example:8080"),
        ("", None),
    ],
)
def test_the_variable_is_read_as_curl_does(
    value: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://another.example:1")
    monkeypatch.setenv("HTTPS_PROXY" if not value else "https_proxy", value)
    found = proxy_of("https://oapi.dingtalk.com")
    assert (found and str(found)) == proxy


def test_a_proxy_with_credentials_may_stand_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "proxy"
    monkeypatch.setenv("HTTPS_PROXY_FILE", str(file))
    assert mistakes() == [f"HTTPS_PROXY_FILE: {file} cannot be read (No such file or directory)"]
    file.write_text("http://u:s3cret@proxy.example:3128\n")
    assert str(proxy_of("https://oapi.dingtalk.com")) == "http://u:s3cret@proxy.example:3128"


@pytest.mark.parametrize(
    "value",
    [
        "https://u:hunter2@proxy.example",
        "socks5://u:hunter2@proxy.example:1080",
        "http://u:hunter2@",
        "http://u:hunter2@h:x",
        # read as the host "u" and a port
        "http://u:12/hunter2@proxy.example:3128",
        "http://u:12?hunter2@proxy.example:3128",
        "u:12#hunter2@proxy.example:3128",
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_mistake_without_its_value(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    [mistake] = mistakes()
    assert mistake.startswith("HTTPS_PROXY: must be http://host:port")
    for load in (lambda: proxy_of("https://oapi.dingtalk.com"), ConsumerSettings.load):
        with pytest.raises(SettingsError) as caught:
            load()
        assert mistake in caught.value.problems
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_an_answer_from_a_tls_port_says_that_something_dropped_tls() -> None:
    page = b"<html><center>The plain HTTP request was sent to HTTPS port</center></html>"

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=400, body=page, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        assert "a plain HTTP request came to its HTTPS port" in str(
            await clock.look(session, f"http://127.0.0.1:{server.port}")
        )
    with pytest.raises(Unavailable, match="a plain HTTP request came to an HTTPS port"):
        read("gettoken", 400, page)


async def test_every_client_trusts_the_authority_of_ssl_cert_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy opens TLS with a certificate of its own; one that is nobody's is refused."""
    reached: set[str] = set()

    async def note(request: web.Request) -> web.Response:
        reached.add(request.path)
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", note)
    server_pem, authority = self_signed.write(tmp_path, hosts=[NAME])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(server_pem)
    program = (
        "import asyncio, pathlib; from tests.unit import test_proxy\n"
        "async def all_of_them():\n"
        f"    for client in test_proxy.CLIENTS: await client(pathlib.Path({str(tmp_path)!r}))\n"
        "asyncio.run(all_of_them())"
    )

    async with TestServer(app) as server, ForwardProxy({NAME: server.port or 0}, tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        for client in CLIENTS:
            await client(tmp_path)
        assert reached == set()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program),
            cwd=Path(__file__).parents[2],
            env=os.environ | {"SSL_CERT_FILE": str(authority)},
        )
        assert await process.wait() == 0
        assert reached == {
            *("/gettoken", "/v1.0/gateway/connections/open", "/connect", "/photo.png", "/hook", "/"),
            *("/.well-known/openid-configuration", "/callback"),
        }
