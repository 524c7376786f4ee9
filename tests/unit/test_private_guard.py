"""What the private listener lets through before anything else looks at it. The rest is in
``tests/integration/test_private_listener.py``.
"""

from functools import partial

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from dingbridge.health_server import only_own_pages, only_with_token
from dingbridge.logging import LogLimiter

NO_NAMES = ["evil%2ecom", "a b", "x@127.0.0.1", "127.0.0.1/a", "[a]", "[::1", "bé", "", "evil.com."]
"""Some of which a URL's reader takes for a name of this network, or for an address."""


@pytest.mark.parametrize("host", ["a:b:c", "127.0.0.1:no", "evil.example", *NO_NAMES])
async def test_a_host_that_is_none_is_refused(host):
    async def handler(request):
        return web.Response()

    request = make_mocked_request("GET", "/metrics", headers={"Host": host})
    assert (await only_own_pages()(request, handler)).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "[::1]:8081", "ingress", "LOCALHOST", "my_service:80"])
async def test_one_of_ours_is_not(host):
    async def handler(request):
        return web.Response()

    request = make_mocked_request("GET", "/metrics", headers={"Host": host})
    assert (await only_own_pages()(request, handler)).status == 200


async def test_who_guesses_the_token_fills_no_disk(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("dingbridge.health_server.LogLimiter", partial(LogLimiter, clock=lambda: now[0]))
    guard = only_with_token("the token")
    request = make_mocked_request("POST", "/journal/prune", headers={"Authorization": "Bearer x"})
    with structlog.testing.capture_logs() as lines:
        for number in range(501):
            now[0] = 10.0 * (number // 500)
            assert (await guard(request, None)).status == 401
    assert [line["suppressed"] for line in lines] == [0] * 5 + [495]
