"""The Open API client when DingTalk limits, bans or does not answer: what it waits out, what it raises."""

import logging
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from structlog.testing import capture_logs

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import ApiError, QuotaSpent, RateLimited, Unavailable
from dingbridge.dingtalk.pace import MARGIN, PER_S
from tests.integration.api_support import (
    AES_KEY,
    APP_KEY,
    APP_SECRET,
    BUSY,
    QPS,
    TOKEN,
    URL,
    Platform,
    Sleeps,
    base,
    client,
    everything_said,
    platform,
    server,
    sleeps,
)

__all__ = ["base", "client", "platform", "server", "sleeps"]


class TestPatience:
    @pytest.mark.parametrize("errcode", [90018, 90002, 90006, "90018"])
    async def test_rate_limits_are_waited_out(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps, errcode: int | str
    ) -> None:
        limited = {"errcode": errcode, "errmsg": "限流"}
        platform.script("/topapi/v2/user/get", limited, limited, limited)
        with capture_logs() as logs:
            await client.user("u001")
        assert sleeps.seconds == [1, 2, 4]
        assert [log["retry_in_s"] for log in logs if log["event"] == "api.rate_limited"] == [1, 2, 4]

    async def test_a_limit_that_stays_is_raised(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.script("/topapi/v2/user/get", *[QPS] * 4)
        with pytest.raises(RateLimited) as caught:
            await client.user("u001")
        assert (sleeps.seconds, caught.value.retry_after_s, caught.value.unavailable) == ([1, 2, 4], 8, True)

    async def test_the_token_call_is_as_patient(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.script("/gettoken", QPS, BUSY)
        await client.user("u001")  # another API, which nothing holds back
        assert sleeps.seconds == [1, 1]

    async def test_after_a_rate_limit_that_api_keeps_to_the_pace(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.script("/topapi/v2/user/get", QPS)
        for _ in range(3):
            await client.user("u001")
        await client.department(7)
        assert sleeps.seconds == [1, *[pytest.approx(1 / (PER_S * MARGIN))] * 2]

    async def test_busy_is_tried_three_times(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.script("/topapi/v2/user/get", BUSY, BUSY)
        await client.user("u001")
        assert sleeps.seconds == [1, 2]
        platform.script("/topapi/v2/user/get", BUSY, BUSY, BUSY)
        with pytest.raises(Unavailable) as caught:
            await client.user("u001")
        assert caught.value.errcode == -1
        assert client.calls["v2/user/get"] == 6

    async def test_a_spent_quota_is_not_tried_again(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        spent = {"code": "Forbidden.AccessDenied.ApiCountLimitForOrg", "message": "API调用量已用完"}
        platform.script("/v1.0/workflow/processInstances", web.json_response(spent, status=403))
        with pytest.raises(QuotaSpent) as caught:
            await client.approval("pi-1")
        assert caught.value.unavailable
        assert sleeps.seconds == []

    @pytest.mark.parametrize(
        ("ban", "wait_s"),
        [
            ({"status": 1111, "wait": 5, "source": "x5", "punish": "deny", "uuid": "abc"}, 5),
            ("<html><script>deny()</script></html>", 300),
        ],
    )
    async def test_a_ban_is_raised_with_its_wait(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps, ban: Any, wait_s: float
    ) -> None:
        html = isinstance(ban, str)
        platform.script(
            "/topapi/v2/user/get", web.Response(text=ban, content_type="text/html") if html else ban
        )
        with pytest.raises(Unavailable, match="firewall") as caught:
            await client.user("u001")
        assert (caught.value.retry_after_s, sleeps.seconds) == (wait_s, [])
        assert (await client.user("u001"))["userid"] == "u001"


class TestTrouble:
    """Network trouble has words, is ``Unavailable``, and never shows a URL that holds a token."""

    async def fails(self, client: DingTalkClient, words: str) -> None:
        with pytest.raises(ApiError, match=words) as caught:
            await client.user("u001")
        assert isinstance(caught.value, Unavailable)
        assert caught.value.__context__ is None
        said = everything_said(caught.value)
        for secret in ("accessToken", APP_SECRET, APP_KEY):
            assert secret not in said

    async def test_no_answer(self, base: str, platform: Platform) -> None:
        # at the first call: any answer that must come in time would make the test depend on the machine
        platform.script("/gettoken", "hang")
        async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base=base, timeout_s=0.1) as client:
            await self.fails(client, "no answer within 0.1 s")

    @pytest.mark.parametrize("path", ["/gettoken", "/topapi/v2/user/get"])
    async def test_a_cut_connection(self, client: DingTalkClient, platform: Platform, path: str) -> None:
        # twice: aiohttp sends a request that is safe to repeat once more on a new connection
        platform.script(path, "cut", "cut")
        await self.fails(client, "the connection broke")

    async def test_nobody_listens(self) -> None:
        base = f"http://127.0.0.1:{unused_port()}"
        async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base=base) as client:
            await self.fails(client, "no connection .*DINGTALK_API_BASE")

    async def test_tls_where_there_is_none(self, base: str) -> None:
        base = base.replace("http://", "https://")
        async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base=base) as client:
            await self.fails(client, "TLS")

    async def test_a_base_that_is_no_url(self) -> None:
        async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base="http://") as client:
            await self.fails(client, "no URL")

    async def test_a_redirect_is_not_followed(self, client: DingTalkClient, platform: Platform) -> None:
        elsewhere = web.Response(status=302, headers={"Location": "/elsewhere"})
        platform.script("/topapi/v2/user/get", elsewhere)
        await self.fails(client, "HTTP 302")
        assert platform.requests("/elsewhere") == []

    async def test_a_broken_platform(self, client: DingTalkClient, platform: Platform) -> None:
        platform.script("/topapi/v2/user/get", web.Response(status=502, text="<html>bad gateway</html>"))
        await self.fails(client, "HTTP 502")

    async def test_words_of_the_platform_that_hold_a_secret(
        self, client: DingTalkClient, platform: Platform
    ) -> None:
        echo = {"errcode": 71010, "errmsg": f"bad: accessToken0 {TOKEN} {AES_KEY}"}
        platform.script("/call_back/register_call_back", echo)
        with pytest.raises(ApiError, match="71010") as caught:
            await client.register_call_back(tags=["check_in"], token=TOKEN, aes_key=AES_KEY, url=URL)
        said = everything_said(caught.value)
        for secret in ("accessToken0", TOKEN, AES_KEY):
            assert secret not in said

    async def test_nothing_secret_is_logged(
        self, client: DingTalkClient, platform: Platform, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)  # the test server's own
        platform.script("/topapi/v2/user/get", QPS, BUSY, {"errcode": 40014, "errmsg": "accessToken0"})
        with capture_logs() as logs:
            await client.user("u001")
        said = repr(logs) + caplog.text
        assert "api.rate_limited" in said
        for secret in ("accessToken", APP_SECRET):
            assert secret not in said
