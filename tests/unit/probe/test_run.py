"""Which reads are made, how often, and where they end."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from dingbridge.dingtalk.api.approvals import SCHEMAS, TEMPLATES
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import ApiError, NotFound, PermissionDenied, TokenInvalid
from dingbridge.doctor.checks.platform import Call, Known, Probe
from dingbridge.errors import CallsSpent
from dingbridge.probe.run import AtMost, Plan, counts, plan, read

NO_RIGHT = PermissionDenied("no", api="a", errcode=60011)
HIDDEN = NotFound("no", api="a", errcode=60121)
NO_TOKEN = TokenInvalid("no", api="a", errcode=40014)


class Api:
    """Calls that remember what they were made with; ``refusals`` by the name of the call."""

    def __init__(self, **refusals: ApiError) -> None:
        self.made: list[tuple[str, Any]] = []
        self._refusals = refusals

    def probe(
        self, name: str, takes: str = "", finds: tuple[str, Sequence[Any]] = ("", ()), **more: Any
    ) -> Probe:
        async def call(of: Any) -> None:
            self.made.append((name, of))
            if name in self._refusals:
                raise self._refusals[name]
            self.known.add(finds[0], *finds[1])

        return Probe(Call(name, call, takes, **more), ("approval",))

    async def run(self, *probes: Probe) -> list[tuple[str, bool]]:
        readings = await read(Plan(probes), self.known, SimpleNamespace(replies=[]))  # type: ignore[arg-type]
        return [(reading.api, reading.missing) for reading in readings]

    @property
    def known(self) -> Known:
        if not hasattr(self, "_known"):
            self._known = Known()
        return self._known


async def test_a_call_is_made_for_two_ids_wherever_they_come_from() -> None:
    api = Api()
    await api.run(api.probe("get", "userid"), api.probe("list", finds=("userid", ["u1", "u2", "u3", "u2"])))
    assert api.made == [("list", None), ("get", "u1"), ("get", "u2")]


async def test_a_call_without_an_id_is_not_made_and_named() -> None:
    api = Api()
    assert await api.run(api.probe("get", "userid")) == [("get", True)]
    assert api.made == []


async def test_where_the_right_is_missing_no_other_id_is_asked_for() -> None:
    api = Api(a=NO_RIGHT, b=HIDDEN)
    api.known.add("userid", "u1", "u2")
    await api.run(api.probe("a", "userid"), api.probe("b", "userid"))
    assert api.made == [("a", "u1"), ("b", "u1"), ("b", "u2")]


async def test_it_ends_with_what_would_meet_every_call() -> None:
    api = Api(a=NO_TOKEN)
    assert await api.run(api.probe("a"), api.probe("b"), api.probe("c", "userid")) == [("a", False)]


def test_the_plan_has_no_writes_and_counts_the_rest() -> None:
    api = Api()
    client = SimpleNamespace(access_token=None, form_schema=None, get_call_back=None)
    wanted = [
        api.probe(TEMPLATES),
        api.probe("v2/user/update", writes=True),
        api.probe("v2/user/get", "userid"),
    ]
    made = plan(client, wanted, callback=True)  # type: ignore[arg-type]
    assert [p.call.api for p in made.probes] == [
        "gettoken",
        TEMPLATES,
        "v2/user/get",
        SCHEMAS,
        "get_call_back",
    ]
    assert (made.calls, made.counted) == (10, 6)
    assert counts("somebody/elses")


async def test_no_more_counted_calls_are_made_than_were_announced() -> None:
    class Budget:
        spent = 0

        async def spend(self, api: str, priority: Priority) -> None:
            self.spent += 1

    budget = Budget()
    limited = AtMost(budget, 2)
    for _ in range(2):
        await limited.spend("a", Priority.RECONCILE)
    with pytest.raises(CallsSpent):
        await limited.spend("a", Priority.RECONCILE)
    assert budget.spent == 2


async def test_reads_at_the_same_time_do_not_exceed_it_either() -> None:
    class Budget:
        spent, left = 0, 3

        async def spend(self, api: str, priority: Priority) -> None:
            await asyncio.sleep(0)
            if self.spent == self.left:
                raise CallsSpent("no more", retry_after_s=1)
            self.spent += 1

    budget = Budget()
    limited = AtMost(budget, 2)
    made = [limited.spend("a", Priority.RECONCILE) for _ in range(9)]
    assert [e is None for e in await asyncio.gather(*made, return_exceptions=True)].count(True) == 2
    assert (budget.spent, limited.spent) == (2, 2)
    limited.most = 9
    for _ in range(2):
        with contextlib.suppress(CallsSpent):
            await limited.spend("a", Priority.RECONCILE)
    assert (budget.spent, limited.spent) == (3, 3), "what was not made is not counted"


async def test_a_reply_that_breaks_our_code_ends_neither_the_run_nor_the_report() -> None:
    api = Api()

    async def breaks(_: object) -> None:
        raise AttributeError("'str' object of 张三")

    odd = Probe(Call("role/list", breaks), ("address-sync",))
    readings = await read(Plan((odd, api.probe("b"))), api.known, SimpleNamespace(replies=[]))  # type: ignore[arg-type]
    assert [(one.api, one.fault) for one in readings] == [("role/list", "AttributeError"), ("b", None)]
