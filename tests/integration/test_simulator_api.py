"""The simulated Open API over HTTP: people and departments, faults, what no page promises, control."""

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import USER, Api, Receiver, api, serving, simulator
from tests.support.waiting import eventually

__all__ = ["api", "simulator"]


async def test_control_refuses_in_words(api: Api) -> None:
    for path, body, words in [
        ("act", {}, "action"),
        ("act", {"action": "fly"}, "no such action"),
        ("act", [1], "JSON object"),
        ("rate", {"per_second": -1}, "per_second"),
        ("drain", {"timeout_s": "x"}, "timeout_s"),
        ("faults", {"kind": "fire"}, "kind must be one of"),
        ("faults", {"kind": "ban", "api": "fly"}, "there is no call fly"),
        ("faults", {"kind": "act", "action": "fly"}, "action must be one of"),
        ("scope", {"authed_dept": 1}, "must be lists"),
        ("scope", {"authed_user": ["nobody"]}, "there is no user"),
        ("limits", {"calls": -1}, "whole number"),
        ("limits", {"call": 1}, "there are calls, pushes, qps, qpm, ban_after, grace_days"),
        ("failed", {"items": {}}, "must be a list"),
        ("deliveries", {"reorder": 2}, "0 to 1"),
        ("deliveries", {"speed": 2}, "they have duplicates, reorder, retry_scale, deadline_ms"),
        ("burst", {"events": 0}, "whole number"),
        ("rights", {"lacking": ["x"]}, "no call needs x"),
        ("profile", {"profile": "unkind"}, "there are"),
        ("writes", {"event_delay_ms": "soon"}, "event_delay_ms"),
        ("writes", {"event_delay_ms": [5, 1]}, "event_delay_ms"),
        ("writes", {"read_lag_ms": -1}, "read_lag_ms"),
        ("writes", {"lag": 1}, "writes have no lag"),
    ]:
        assert words in (await api.post(f"/_sim/{path}", body))["error"], (path, body)
    assert "numbers" in (await api.get("/_sim/pushes", since="x"))["error"]


async def test_only_the_simulators_own_pages_may_make_things_happen(api: Api, simulator: Simulator) -> None:
    url, before = api.base + "/_sim/act", simulator.stats()["users"]
    as_json, port = {"Content-Type": "application/json"}, api.base.rpartition(":")[2]
    hosts = (f"127.0.0.1:{port}", f"[::1]:{port}", f"localhost:{port}", "simulator:8090")
    for headers, status in [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (as_json | {"Origin": "http://evil.example"}, 403),
        (as_json | {"Origin": "null"}, 403),
        # a domain that somebody points at this machine
        (as_json | {"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        *((as_json | {"Host": host, "Origin": f"http://{host}"}, 200) for host in hosts),
    ]:
        body = b'{"action": "hire", "count": 1}'
        async with api.session.post(url, data=body, headers=headers) as response:
            assert response.status == status, headers
            assert ("error" in await response.json()) is (status != 200)
    assert simulator.stats()["users"] == before + len(hosts)


async def test_the_page_and_what_holds_it(api: Api) -> None:
    async with api.session.get(api.base + "/_sim") as response:
        assert (response.status, response.url.path) == (200, "/_sim/")
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.startswith("<!DOCTYPE html>")
    # what the policy would refuse anyway: scripts, styles and handlers in the page, other hosts
    assert not re.search(r"<script>|<style|\son[a-z]+=|://", page)
    for name, content_type in [("page.js", "text/javascript"), ("page.css", "text/css")]:
        async with api.session.get(f"{api.base}/_sim/{name}") as response:
            assert (response.status, response.content_type) == (200, content_type)
            # values become text nodes, never markup
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|eval\(|://", await response.text())


# -- Calls that write, over HTTP: what is heard of them when, replies that are lost, the newer host


@pytest.fixture
async def receiver(api: Api) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver):
        await api.register(receiver)
        yield receiver


async def test_events_of_a_write_come_late_or_before_the_reply(api: Api, receiver: Receiver) -> None:
    # longer than the test would wait: what must not have happened by then, has not
    await api.post("/_sim/writes", {"event_delay_ms": 600_000})
    await api.v2("user/create", **USER)
    assert (await api.get("/_sim/stats"))["pending"] >= 1
    assert len(receiver.events) == 1  # check_url
    await api.post("/_sim/writes", {"event_delay_ms": -600_000})
    replied = asyncio.create_task(api.v2("user/update", userid="oa-1", title="x"))
    await eventually(lambda: "user_modify_org" in [e["EventType"] for e in receiver.events])
    assert not replied.done()
    replied.cancel()
    await api.post("/_sim/writes", {"event_delay_ms": [0, 1], "opt_staff_id": "manager1"})
    assert await api.code("user/delete", userid="oa-1") == 0
    await eventually(lambda: "user_leave_org" in [e["EventType"] for e in receiver.events])


async def test_a_write_that_is_done_and_never_answered_ends_when_the_fault_is_cleared(
    api: Api, simulator: Simulator
) -> None:
    await api.fault(api="v2/user/create", kind="hang", done=True)
    hanging = asyncio.create_task(api.v2("user/create", **USER))
    await eventually(lambda: "oa-1" in simulator.platform.company.users)
    assert not hanging.done()
    async with api.session.delete(api.base + "/_sim/faults") as response:
        assert (await response.json())["cleared"] == 1
    with pytest.raises(aiohttp.ClientError):
        await hanging


async def test_what_cannot_be_read_is_the_callers_mistake(api: Api) -> None:
    form, many = "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"
    bodies: list[tuple[bytes, dict[str, str]]] = [
        (b"\xff", {"Content-Type": form}),
        (b"a=b", {"Content-Type": f"{form}; charset=nope"}),
        (b"x", {"Content-Type": "multipart/form-data"}),
        (b"x", {"Content-Type": many}),
    ]
    for body, headers in bodies:
        for path in ("/topapi/v2/department/get", "/router/rest"):
            async with api.session.post(
                api.base + path, params={"access_token": api.token}, data=body, headers=headers
            ) as response:
                assert response.status == 200, (path, headers)
        async with api.session.post(
            api.base + "/v1.0/gateway/connections/open", data=body, headers=headers
        ) as response:
            assert response.status == 400, headers
    for query in ("limit=-1", "limit=99999999999999999999", "since=x"):
        async with api.session.get(f"{api.base}/_sim/pushes?{query}") as response:
            assert response.status == 400
    async with api.session.post(
        f"{api.base}/_sim/act", data=b"[]", headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 400
