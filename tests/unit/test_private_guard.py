"""What the private listener lets through before anything else looks at it. The rest is in
``tests/integration/test_private_listener.py``.
"""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from dingbridge.health_server import only_own_pages


@pytest.mark.parametrize("host", ["a:b:c", "127.0.0.1:no", "evil.example"])
async def test_a_host_that_is_none_is_refused(host):
    async def handler(request):
        return web.Response()

    request = make_mocked_request("GET", "/metrics", headers={"Host": host})
    assert (await only_own_pages()(request, handler)).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "[::1]:8081", "ingress", "localhost"])
async def test_one_of_ours_is_not(host):
    async def handler(request):
        return web.Response()

    request = make_mocked_request("GET", "/metrics", headers={"Host": host})
    assert (await only_own_pages()(request, handler)).status == 200
