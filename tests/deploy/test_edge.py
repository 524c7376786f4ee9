"""The edge proxies of deploy/edge, the real programs before two real ingresses: what passes, and what not."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hostile import Reply, exchange, raw_push
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Processes, free_port, wait_until

EDGE = Path(__file__).parents[2] / "deploy" / "edge"
POST = "POST /callback HTTP/1.1\r\nHost: bridge.example\r\n"
ENDS_WITHIN_S = 20
"""The proxies' limits are 5 s; this only keeps a test from hanging."""


@dataclass
class Edge:
    """A proxy on a port, and the ingresses behind it."""

    port: int
    ingresses: list[IngressUnderTest]

    def seen(self, outcome: str) -> float:
        """How many requests of this outcome the ingresses that run counted, together."""
        running = [i for i in self.ingresses if i.process is not None and i.process.running]
        return sum(i.metric("dingbridge_callbacks_total", outcome=outcome) for i in running)

    async def push(self, number: int) -> int:
        return (await exchange(self.port, raw_push(event(number)), ENDS_WITHIN_S)).status


def event(number: int) -> bytes:
    return b'{"EventType":"check_in","eventId":"e%d","CorpId":"dingcorpsample01","StaffId":"u"}' % number


def caddy(folder: Path, port: int, upstreams: list[int]) -> tuple[list[str], dict[str, str]]:
    config = str(EDGE / "Caddyfile")
    return [os.environ["EDGE_CADDY"], "run", "--config", config, "--adapter", "caddyfile"], {
        "EDGE_SITE": f":{port}",
        "EDGE_UPSTREAMS": " ".join(f"127.0.0.1:{upstream}" for upstream in upstreams),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }


def nginx(folder: Path, port: int, upstreams: list[int]) -> tuple[list[str], dict[str, str]]:
    """As it stands, but for the addresses, the certificate, and where a packaged nginx has its folders."""
    text = (EDGE / "nginx.conf").read_text(encoding="utf-8")
    places = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for old, new in (
        ("127.0.0.1:8080", f"127.0.0.1:{upstreams[0]}"),
        ("127.0.0.1:8090", f"127.0.0.1:{upstreams[1]}"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("ssl_certificate /etc/nginx/bridge.pem;", ""),
        ("ssl_certificate_key /etc/nginx/bridge.key;", ""),
        ("http {", "http {" + places),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    config = folder / "nginx.conf"
    config.write_text(f"daemon off; pid {folder}/nginx.pid;" + ("user root;" * (not os.getuid())) + text)
    return [os.environ["EDGE_NGINX"], "-p", str(folder), "-e", "stderr", "-c", str(config)], {}


@pytest.fixture(scope="module", params=[caddy, nginx], ids=["caddy", "nginx"])
def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    processes = Processes(folder)
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    ingresses = [IngressUnderTest(processes, folder / name, nowhere) for name in ("a", "b")]
    port = free_port()
    command, env = request.param(folder, port, [ingress.port for ingress in ingresses])
    with (folder / "edge.log").open("wb") as log:
        proxy = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
        try:
            for ingress in ingresses:
                ingress.start()
            wait_until(lambda: _listens(port), 30, "the proxy listens")
            yield Edge(port, ingresses)
        finally:
            proxy.terminate()
            proxy.wait(30)
            processes.stop_all()


def names_no_software(reply: Reply) -> bool:
    """nginx can leave out its version, and not its name."""
    return "via" not in reply.headers and reply.headers.get("server", "nginx") == "nginx"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_pushes_pass_and_answers_name_no_software(edge: Edge) -> None:
    assert [await edge.push(number) for number in range(10)] == [200] * 10
    assert edge.seen("kept") == 10
    reply = await exchange(edge.port, raw_push(event(1)), ENDS_WITHIN_S)
    assert names_no_software(reply)


@pytest.mark.parametrize("path", ["/", "/metrics", "/callbacks", "/callback/../metrics"])
async def test_other_paths_end_at_the_edge(edge: Edge, path: str) -> None:
    before = edge.seen("not_found")
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    reply = await exchange(edge.port, request, ENDS_WITHIN_S)
    assert reply.status == 404
    assert names_no_software(reply)
    assert edge.seen("not_found") == before


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused_and_keeps_nobody_out(edge: Edge, declared: bool) -> None:
    size = 1024 * 1024 + 0x10000
    if declared:
        request = POST.encode() + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
    else:
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        request = POST.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * (size // 0x10000)
    reply = await exchange(edge.port, request, ENDS_WITHIN_S)
    assert reply.status in (413, 499), "499 is Caddy's own: it stopped reading before the body had its end"
    assert names_no_software(reply)
    number = time.monotonic_ns()
    assert [await edge.push(number + n) for n in range(4)] == [200] * 4


async def test_what_is_no_http_is_answered_by_the_edge_and_nothing_of_it_is_repeated(edge: Edge) -> None:
    _, writer = connection = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"Do-Not-Repeat-Me\r\n\r\n")
    answer = await asyncio.wait_for(connection[0].read(65536), ENDS_WITHIN_S)
    assert b"Do-Not-Repeat-Me" not in answer
    assert b"aiohttp" not in answer
    writer.close()


@pytest.mark.parametrize("begun", ["", "Content-Length: 500\r\n\r\n{"], ids=["head", "body"])
async def test_slow_senders_are_ended_and_keep_nobody_out(edge: Edge, begun: str) -> None:
    """200 that send what they have begun no further."""
    slow = [await asyncio.open_connection("127.0.0.1", edge.port) for _ in range(200)]
    for _, writer in slow:
        writer.write((POST + begun).encode())
    number = time.monotonic_ns()
    assert [await edge.push(number + n) for n in range(5)] == [200] * 5
    async with asyncio.timeout(ENDS_WITHIN_S):
        answers = [await answer_at_its_end(reader) for reader, _ in slow]
    assert not any(b" 200 " in answer for answer in answers)
    for _, writer in slow:
        writer.transport.abort()
    assert await edge.push(number + 5) == 200


async def answer_at_its_end(reader: asyncio.StreamReader) -> bytes:
    """What the proxy had said when it closed the connection."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_while_one_ingress_is_down_the_other_answers(edge: Edge) -> None:
    process = edge.ingresses[0].process
    assert process is not None
    process.terminate()
    await asyncio.to_thread(process.wait, 20)
    number = time.monotonic_ns()
    assert [await edge.push(number + n) for n in range(10)] == [200] * 10
    await asyncio.to_thread(edge.ingresses[0].start)
