"""The public listener over real HTTP, in front of a real journal: what is kept, what is refused, and how."""

import asyncio
import gzip
import json
import logging
import time

import aiohttp
import pytest
import structlog
from prometheus_client import CollectorRegistry

from dingbridge.dingtalk.crypto import (
    CallbackCrypto,
    Credentials,
    SignatureParameters,
    decrypt,
    encrypt,
    sign,
)
from dingbridge.ingress.callback import CallbackReceiver
from dingbridge.ingress.diagnostics import Diagnostics
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import HttpMetrics, JournalMetrics
from dingbridge.ingress.server import PublicServer
from dingbridge.logging import ServerLog
from dingbridge.settings import IngressSettings

OURS = Credentials("tokenOfTheTest", "a" * 43, ("dingappkey", "dingcorp1"))
EVENT = (
    b'{"EventType":"user_add_org","TimeStamp":"1731000000123","UserId":["u1"],"CorpId":"dingcorpsample01"}'
)


class Listener:
    """A listener on a free port with everything a test wants to look at."""

    def __init__(self, folder, *, max_bytes=64 * 1024, **rules):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.registry = CollectorRegistry()
        self.journal = Journal(folder, Retention(3600, 3600), JournalMetrics(self.registry))
        self.diagnostics = Diagnostics()
        metrics = self.metrics = HttpMetrics(self.registry)
        self.settings = IngressSettings.model_construct(
            callback_max_bytes=max_bytes, shutdown_timeout_s=4, **rules
        )
        self.callbacks = CallbackReceiver(self.settings, self.journal, metrics, self.diagnostics)
        self.server = PublicServer(self.settings, self.callbacks, metrics)
        self.server.serve({"default": CallbackCrypto([OURS]), "hr": CallbackCrypto([OURS])}, "default")

    async def __aenter__(self):
        await self.journal.start()
        self.port = await self.server.start("127.0.0.1", 0)
        self.http = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")
        return self

    async def __aexit__(self, *_):
        await self.http.close()
        await self.server.stop()
        await self.journal.stop()

    async def again(self, port):
        """Listen anew, on a port that others may share."""
        await self.server.stop()
        self.server = PublicServer(self.settings, self.callbacks, self.metrics)
        self.server.serve({"default": CallbackCrypto([OURS])}, "default")
        return await self.server.start("127.0.0.1", port, reuse_port=True)

    async def post(self, query, body, path="/callback", **kwargs):
        async with self.http.post(path, params=query, data=body, **kwargs) as answer:
            return answer.status, json.loads(await answer.read())

    async def push(self, plaintext=EVENT, path="/callback", **overrides):
        return await self.post(*push(plaintext, **overrides), path=path)

    def kept(self):
        found = []
        if current(self.folder).exists():
            file = JournalFile(current(self.folder), read_only=True)
            found += [(row.app, row.body) for row in file.read(0, max_rows=9999, max_bytes=1 << 30)]
            file.close()
        return found

    def counted(self, outcome, reason=""):
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "dingbridge_callbacks_total"
            and (sample.labels["outcome"], sample.labels["reason"]) == (outcome, reason)
        )


def push(plaintext=EVENT, *, owner="dingappkey", credentials=OURS, at_ms=None, nonce="n1234567"):
    stamp = str(int(time.time() * 1000) if at_ms is None else at_ms)
    encrypted = encrypt(credentials.key, plaintext, owner)
    query = {
        "signature": sign(credentials.token, stamp, nonce, encrypted),
        "timestamp": stamp,
        "nonce": nonce,
    }
    return query, json.dumps({"encrypt": encrypted}).encode()


def opened(answer):
    return CallbackCrypto([OURS]).decrypt_callback(SignatureParameters.from_query(answer), answer["encrypt"])


@pytest.fixture
async def listener(tmp_path):
    async with Listener(tmp_path) as listener:
        yield listener


async def test_a_callback_is_kept_and_answered_with_an_encrypted_success(listener):
    status, answer = await listener.push()
    assert status == 200
    assert set(answer) == {"msg_signature", "timeStamp", "nonce", "encrypt"}
    assert opened(answer).plaintext == b"success"
    assert listener.kept() == [("default", EVENT)]


async def test_the_answer_is_for_the_owner_that_was_pushed_to(listener):
    _, answer = await listener.push(owner="dingcorp1")
    assert opened(answer).owner_key == "dingcorp1"


async def test_the_same_push_is_kept_once_and_answered_each_time(listener):
    query, body = push()
    answers = await asyncio.gather(*(listener.post(query, body) for _ in range(10)))
    answers.append(await listener.push())  # encrypted anew, as a retry may be
    assert {status for status, _ in answers} == {200}
    assert len(listener.kept()) == 1
    assert listener.counted("duplicate") == 10


@pytest.mark.parametrize(
    "plaintext",
    [
        b'{"EventType":"check_url"}',
        b'{"EventType":"check_update_suite_url","Random":"r","TestSuiteKey":"s"}',
        b'{"EventType":"check_create_suite_url","Random":"r","TestSuiteKey":"s"}',
    ],
)
async def test_url_checks_are_answered_and_not_kept(listener, plaintext):
    status, answer = await listener.push(plaintext)
    assert (status, opened(answer).plaintext) == (200, b"success")
    assert listener.kept() == []


async def test_a_suite_is_checked_before_it_has_a_key_and_may_want_its_random_back(tmp_path):
    async with Listener(tmp_path, suite_check_reply="random") as listener:
        plaintext = b'{"EventType":"check_create_suite_url","Random":"LPIdSnlF","TestSuiteKey":"x"}'
        status, answer = await listener.push(plaintext, owner="suite4xxxxxxxxxxxxxxx")
        assert status == 200
        assert decrypt(OURS.key, answer["encrypt"]) == (b"LPIdSnlF", "suite4xxxxxxxxxxxxxxx")
        status, _ = await listener.push(EVENT, owner="suite4xxxxxxxxxxxxxxx")
        assert status == 403


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"no json",
        b"[1,2]",
        b'"text"',
        b"{}",
        b'{"EventType":""}',
        b'{"EventType":"no/legal name"}',
        b'{"EventType":"x","a":"\xff\xfe"}',
        b'{"EventType":"x","a":"\\ud800"}',
        b'{"EventType":"x","a":NaN}',
        b'{"EventType":"x","EventType":"y"}',
        b'{"EventType":"x","a":' + b"1" * 400 + b"}",
        b'{"EventType":"x","a":' + b"[" * 1000 + b"]" * 1000 + b"}",
        '{"EventType":"新类型","标题":"请假🌴"}'.encode(),
    ],
    ids=lambda value: value[:24].decode("utf-8", "replace"),
)
async def test_what_dingtalk_signed_is_never_refused_for_its_content(listener, plaintext):
    status, answer = await listener.push(plaintext)
    assert (status, opened(answer).plaintext) == (200, b"success")
    assert listener.kept() == [("default", plaintext)]


OTHER = Credentials("anotherToken", "b" * 43, ("dingappkey",))
OTHER_KEY = Credentials(OURS.token, "b" * 43, ("dingappkey",))
DAY_MS = 86_400_000


def unsigned():
    query, body = push()
    return {**query, "signature": "0" * 40}, body


def old():
    return push(at_ms=int(time.time() * 1000) - 5 * DAY_MS)


def ahead():
    return push(at_ms=int(time.time() * 1000) + 5 * DAY_MS)


def contradictory():
    query, body = push()
    return {**query, "msg_signature": "1" * 40}, body


def cut():
    query, body = push()
    encrypted = json.loads(body)["encrypt"][:-4]
    query["signature"] = sign(OURS.token, query["timestamp"], query["nonce"], encrypted)
    return query, json.dumps({"encrypt": encrypted}).encode()


def in_the_body():
    query, body = push()
    return {}, json.dumps({**json.loads(body), **query}).encode()


def with_body(body):
    return lambda: (push()[0], body)


@pytest.mark.parametrize(
    ("make", "status", "name", "reason"),
    [
        (unsigned, 403, "forbidden", "signature"),
        (lambda: push(credentials=OTHER), 403, "forbidden", "signature"),
        (lambda: push(credentials=OTHER_KEY), 403, "forbidden", "padding"),
        (lambda: push(owner="dingother"), 403, "forbidden", "owner"),
        (cut, 403, "forbidden", "block"),
        (old, 403, "forbidden", "age"),
        (ahead, 403, "forbidden", "age"),
        (contradictory, 400, "malformed", "parameters"),
        (lambda: ({}, push()[1]), 400, "malformed", "parameters"),
        (in_the_body, 400, "malformed", "parameters"),
        (lambda: push(at_ms="soon"), 400, "malformed", "timestamp"),
        (with_body(b""), 400, "malformed", "body"),
        (with_body(b"{"), 400, "malformed", "body"),
        (with_body(b"[]"), 400, "malformed", "body"),
        (with_body(b'{"encrypt":5}'), 400, "malformed", "body"),
        (with_body(b"[" * 60_000), 400, "malformed", "body"),
        (with_body(b"x" * 70_000), 413, "too_large", "body"),
    ],
)
async def test_what_dingtalk_did_not_sign_is_refused_by_class_and_stored_nowhere(
    listener, make, status, name, reason
):
    with structlog.testing.capture_logs() as logs:
        assert await listener.post(*make()) == (status, {"error": name})
    assert listener.kept() == []
    assert listener.counted(name, reason) == 1
    refused = [line for line in logs if line["event"] == "callback.refused"]
    assert [line["reason"] for line in refused] == [reason]
    assert OURS.token not in str(logs)
    assert (await listener.push())[0] == 200, "the next good one is answered"
    assert listener.kept() == [("default", EVENT)]


async def test_an_owner_that_is_not_ours_is_named_in_the_log(listener):
    with structlog.testing.capture_logs() as logs:
        await listener.push(owner="dingcorpOther")
    assert "dingcorpOther" in str([line for line in logs if line["event"] == "callback.refused"])


async def test_owner_keys_that_callbacks_were_for_are_remembered(listener):
    await listener.push(owner="dingcorpOther")
    await listener.push(owner="dingcorp1")
    await listener.push(b'{"EventType":"check_url"}', owner="dingappkey")  # of no company
    seen = [(e["owner"], e["accepted"], e["refused"]) for e in listener.diagnostics.owners()]
    assert seen == [("dingcorpOther", 0, 1), ("dingcorp1", 1, 0)]


async def test_a_signature_in_the_body_is_logged_in_words(listener):
    with structlog.testing.capture_logs() as logs:
        await listener.post(*in_the_body())
    assert "in the body" in next(line["words"] for line in logs if line["event"] == "callback.refused")


async def test_other_paths_methods_and_apps(listener):
    assert (await listener.push(path="/"))[0] == 404
    assert (await listener.push(path="/metrics"))[0] == 404
    assert (await listener.push(path="/callback/nobody"))[0] == 404
    async with listener.http.get("/callback") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert (await listener.push(path="/callback/hr"))[0] == 200
    assert [app for app, _ in listener.kept()] == ["hr"]
    assert (await listener.push(path="/callback/default"))[0] == 200
    assert [app for app, _ in listener.kept()] == ["hr", "default"], "each app dedupes by itself"


async def test_both_spellings_of_the_parameters(listener):
    query, body = push()
    other = {"msg_signature": query["signature"], "timeStamp": query["timestamp"], "nonce": query["nonce"]}
    assert (await listener.post(other, body))[0] == 200
    assert (await listener.post({**query, "msg_signature": query["signature"], "r": "/x"}, body))[0] == 200


async def test_a_compressed_or_lying_body_is_malformed(listener):
    query, body = push()
    headers = {"Content-Encoding": "gzip"}
    assert await listener.post(query, gzip.compress(body), headers=headers) == (400, {"error": "malformed"})
    # the label alone does no harm: what counts is what was signed
    assert (await listener.post(query, body, headers=headers))[0] == 200


async def test_a_body_that_never_comes_is_given_up(listener, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.server.BODY_TIMEOUT_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert listener.counted("malformed", "slow_body") == 1


async def test_a_chunked_body_over_the_limit_is_cut_off(listener):
    async def endless():
        for _ in range(100):
            yield b"x" * 4096

    assert (await listener.post(push()[0], endless()))[0] == 413


async def test_not_kept_is_503_and_never_success(listener, monkeypatch):
    async def fail(entry):
        raise JournalUnavailable("disk", "the disk is full")

    monkeypatch.setattr(listener.journal, "append", fail)
    query, body = push()
    async with listener.http.post("/callback", params=query, data=body) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert await answer.json() == {"error": "unavailable"}
    assert listener.counted("unavailable", "disk") == 1


async def test_stopping_answers_what_was_accepted(tmp_path):
    async with Listener(tmp_path) as listener:
        arrived, release = asyncio.Event(), asyncio.Event()
        keep = listener.journal.append

        async def slowly(entry):
            arrived.set()
            await release.wait()
            return await keep(entry)

        listener.journal.append = slowly
        answer = asyncio.ensure_future(listener.push())
        await arrived.wait()
        stopping = asyncio.ensure_future(listener.server.stop())
        await asyncio.sleep(0)
        release.set()
        assert (await answer)[0] == 200
        await stopping
        with pytest.raises(aiohttp.ClientConnectorError):
            await listener.push()
    assert len(listener.kept()) == 1


async def test_two_listeners_share_a_port(tmp_path):
    async with Listener(tmp_path / "one") as one, Listener(tmp_path / "two") as two:
        port = await two.again(await one.again(0))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=once()) as http:
            for number in range(40):
                query, body = push(EVENT.replace(b"u1", b"u%d" % number))
                async with http.post("/callback", params=query, data=body) as answer:
                    assert answer.status == 200
        assert len(one.kept()) + len(two.kept()) == 40
        assert one.kept()
        assert two.kept()


def once():
    return aiohttp.TCPConnector(force_close=True)  # the kernel spreads connections, not requests


async def test_bytes_that_are_no_http_are_not_in_the_log(listener, caplog):
    server = logging.getLogger("aiohttp.server")
    server.addFilter(only_types := ServerLog())  # as configure_logging does
    try:
        with structlog.testing.capture_logs() as logs:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(b"POST /callback?signature=Do-Not-Log-Me HTTP/9.9\r\n\r\n")
            assert b" 400 " in await asyncio.wait_for(reader.readline(), 10)
            writer.close()
    finally:
        server.removeFilter(only_types)
    assert [line["event"] for line in logs] == ["http.request_failed"]
    assert "Do-Not-Log-Me" not in str(logs) + caplog.text
