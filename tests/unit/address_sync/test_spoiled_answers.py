"""Answers that make no sense, as a proxy or a sick server gives them in place of one person's: whoever failed
with them is read within seconds, once DingTalk has answered about somebody else."""

from collections import Counter
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.dingtalk.api.calls import an_object
from dingbridge.dingtalk.api.shapes import USER, typed
from dingbridge.dingtalk.replies import read
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.address_sync.late import LateCompany, Life

API = "v2/user/get"
SPOILED = {
    "a page": (200, "<html><body>您的访问被阻断</body></html>".encode()),
    "a page with 403": (403, b"<html></html>"),
    "half a JSON": (200, b'{"errcode":0,"result":{"userid":"a","na'),
    "no result": (200, b'{"errcode":0,"errmsg":"ok"}'),
}
WITHIN_S = 5


class Proxied(LateCompany):
    """``spoils`` decides by userid whether an answer is spoiled; ``answered`` counts those that are not."""

    def __init__(self, spoiled: str) -> None:
        super().__init__(0)
        self._spoiled = SPOILED[spoiled]
        self.spoils = lambda userid: False
        self.asked, self.answered = Counter[str](), Counter[str]()

    async def user(self, userid):
        self.asked[userid] += 1
        if self.spoils(userid):
            an_object(API, typed(read(API, *self._spoiled).get("result"), USER))
        self.answered[userid] += 1
        return await super().user(userid)


@pytest.fixture(params=SPOILED)
async def life(request):
    company, consumer = Proxied(request.param), AddressSync()
    consumer.clock = company.clock
    async with MemoryRuntime(consumer, dingtalk=company) as runtime:
        life = Life(runtime, company)
        await life.deliver(*[company.hires(f"u{number:02}") for number in range(20)])
        await life.until(100)
        company.asked.clear()
        company.answered.clear()
        yield life


async def name(life, userid):
    return (await life.person(userid)).name


@pytest.mark.parametrize("times", [1, 2, 3, 6])
async def test_who_failed_is_read_within_seconds_of_anothers_answer(life, times):
    """However long this one has failed alone."""
    company = life.company
    company.spoils = lambda userid: userid == "u00" and company.asked["u00"] <= times
    await life.deliver(company.edits("u00", name="新名"))
    while company.asked["u00"] < times:
        await life.until(1)
    await life.deliver(company.edits("u01", name="乙"))
    assert (await name(life, "u00"), await name(life, "u01")) == ("张u00", "乙")
    await life.until(WITHIN_S)
    assert await name(life, "u00") == "新名"


async def test_after_an_outage_one_answer_lets_all_others_go_on(life):
    """Also in a process that begins then and saw nobody fail."""
    company = life.company
    company.spoils = lambda userid: True
    for number in range(10):
        await life.deliver(company.edits(f"u{number:02}", name="新名"))
    await life.until(200)
    assert company.answered.total() == 0
    company.spoils = lambda userid: False
    other = AddressSync()
    other.clock, other.dingtalk, other.database = life.clock, company, life.runtime.database
    other.registry = CollectorRegistry()
    life.runtime.consumer = other
    await life.deliver(company.edits("u19", name="新名"))
    assert company.answered["u19"]
    await life.until(WITHIN_S)
    assert {await name(life, f"u{number:02}") for number in range(10)} == {"新名"}


async def test_of_many_changes_under_a_proxy_that_spoils_answers_all_are_right_soon_after(life):
    company, dice = life.company, Random(3)
    edited, left, hired = [f"u{n:02}" for n in range(10)], ["u10", "u11", "u12"], ["h0", "h1", "h2"]
    changes = [
        *(lambda userid=userid: company.edits(userid, name="新名") for userid in edited),
        *(lambda userid=userid: company.leaves(userid) for userid in left),
        *(lambda userid=userid: company.hires(userid) for userid in hired),
    ]
    dice.shuffle(changes)
    began, spoiled = company.clock.now, []

    def spoils(userid):
        spoils = len(spoiled) < 17 and company.clock.now < began + 25 and dice.random() < 0.6
        spoiled.extend([userid] * spoils)
        return spoils

    company.spoils = spoils
    for change in changes:
        await life.deliver(change())
        await life.until(1.5)
    await life.until(max(0, began + 25 - company.clock.now))
    assert len(spoiled) == 17
    await life.deliver(company.edits("u19", name="新名"))
    while not company.answered["u19"]:
        await life.until(1)
    await life.until(WITHIN_S)
    assert {await name(life, userid) for userid in edited} == {"新名"}
    assert all([(await life.person(userid)).left_at is not None for userid in left])
    assert all([await life.person(userid) is not None for userid in hired])
