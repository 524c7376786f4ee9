"""What the private listener takes from whom: a page in the operator's browser is not the operator."""

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from dingbridge.health_server import AdminServer, json_response


@pytest.fixture
async def listener():
    done: list[str] = []

    async def change(request):
        done.append(request.method)
        return json_response({"done": True})

    async def ready():
        return True, {}

    routes = [web.post("/journal/prune", change), web.delete("/journal/prune", change)]
    server = AdminServer("127.0.0.1", 0, CollectorRegistry(), ready=ready, routes=routes)
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http:
        yield http, server.port, done
    await server.stop()


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "status"),
    {
        "the command line": (JSON, 200),
        "by a name of this network": ({**JSON, "Host": "ingress:{port}"}, 200),
        "a page of its own": ({**JSON, "Origin": "http://127.0.0.1:{port}"}, 200),
        "a page of somebody else": ({**JSON, "Origin": "https://evil.example"}, 403),
        "a page of another port": ({**JSON, "Origin": "http://127.0.0.1:1"}, 403),
        "a page without an origin": ({**JSON, "Origin": "null"}, 403),
        "DNS rebinding": (
            {**JSON, "Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
            403,
        ),
        "another host": ({**JSON, "Host": "evil.example:{port}"}, 403),
        "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        "a simple request": ({"Content-Type": "text/plain"}, 415),
    }.values(),
    ids=lambda value: None,
)
async def test_only_json_by_an_address_of_ours_changes_anything(listener, method, headers, status):
    http, port, done = listener
    filled = {name: value.format(port=port) for name, value in headers.items()}
    async with http.request(method, "/journal/prune", data=b"{}", headers=filled) as answer:
        assert answer.status == status
    assert done == ([method] if status == 200 else [])


async def test_looking_is_open_to_whoever_reaches_it(listener):
    http, _, _ = listener
    for path in ("/healthz", "/readyz", "/metrics"):
        async with http.get(
            path, headers={"Host": "ingress.monitoring.svc:8081", "Origin": "http://a"}
        ) as answer:
            assert answer.status == 200
