"""``dingbridge resync staff``: what it does, and whom it refuses."""

import asyncio
import gc
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import structlog
import typer
from sqlalchemy import Column, MetaData, Text

from dingbridge import Consumer, Mirror, people_table
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.mirror import cli, full_sync
from dingbridge.testing import MemoryRuntime
from tests.unit.address_sync.company import CORP, Company


class Staff(Mirror):
    name = "staff"
    table = people_table("staff", MetaData(), Column("name", Text))
    sync_calls_per_s = 1e6


class Billing(Consumer):
    name = "billing"


def _dropped(*_):
    raise structlog.DropEvent


@pytest.fixture
def company():
    company = Company()
    for number in range(3):
        company.hire(f"u{number}")
    return company


@pytest.fixture
def resync(company, monkeypatch):
    """Runs the command on one database; returns its exit code."""
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)
    monkeypatch.setattr(full_sync, "CHECK_EVERY_S", 0.01)
    monkeypatch.setattr(cli, "load_consumer", {"staff": Staff, "billing": Billing}.__getitem__)
    kept = MemoryRuntime(Staff(), dingtalk=company)
    asyncio.run(kept._make_tables())

    @asynccontextmanager
    async def opened(mirror):
        mirror.settings, mirror.dingtalk = kept.consumer.settings, company
        mirror.database = kept.database.reopened()
        yield mirror
        await mirror.database.close()

    monkeypatch.setattr(cli, "open_consumer", opened)

    def run(name="staff", **options):
        with pytest.raises(typer.Exit) as raised:
            cli.command(consumer=name, **options)
        gc.collect()  # a process ends here, and a transaction of it with it
        return raised.value.exit_code

    async def shown():
        async with opened(kept.consumer) as mirror:
            return [(title, rows) for title, _, rows in await mirror.show(mirror.database.reader())]

    run.shown = lambda: asyncio.run(shown())
    before = structlog.get_config()
    structlog.configure(processors=[_dropped])
    yield run
    structlog.configure(**before)


def test_it_says_what_it_changed_and_what_a_dry_run_would(resync, company, capsys):
    assert resync(dry_run=True) == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f"user u{number}: new" for number in range(3)),
        "a dry run: 3 entities would change, and nothing did",
    ]
    assert resync() == 0
    assert resync() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "user: nothing differs"
    company.users["u1"]["name"] = "改名"
    del company.users["u2"]
    assert resync(dry_run=True) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["user u1: name", "user u2: left_at"]
    assert resync() == 0
    assert capsys.readouterr().out.splitlines() == [
        "user: 1 changed",
        "1 are not known to DingTalk; they are read again for an hour, and then believed to be gone",
    ]


def test_more_confirmed_than_wait_are_none(resync, capsys):
    assert resync(confirm_leavers=0) == 0
    assert "confirmed: 0 people were read" in capsys.readouterr().out


def test_dingtalk_that_does_not_work_ends_it_in_words(resync, company):
    company.refused |= {"v2/user/get", "v2/department/listsub"}
    with pytest.raises(BridgeError, match="What is to be read is kept"):
        resync()


@pytest.fixture
def busy(company, monkeypatch):
    """By name of a call, the ids that DingTalk never answers about."""
    ids, asked = {"user": set(), "sub_departments": set(), "visible_scope": set()}, Counter()
    real = {call: getattr(company, call) for call in ids}
    for call in real:

        async def answer(*of, call=call):
            asked[(call, *of)] += 1
            if set(of or ("",)) & ids[call]:
                raise Unavailable("DingTalk answers 502.", api=call)
            return await real[call](*of)

        monkeypatch.setattr(company, call, answer)
    ids["asked"] = asked
    return ids


@pytest.fixture
def quick(monkeypatch):
    """Delays after failures are short: the clock goes fifty times as fast."""
    monkeypatch.setattr(Staff, "clock", lambda _: 50 * time.monotonic())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("failing", [["u1"], ["u1", "u2", "u4", "u7", "u8"]])
def test_it_ends_when_nothing_is_left_but_what_has_failed_three_times(resync, company, busy, capsys, failing):
    """The running consumer goes on with it, or the same command."""
    for number in range(3, 12):
        company.hire(f"u{number}")
    busy["user"] |= set(failing)
    known = {userid for userid in company.users if userid not in failing}
    assert resync() == 0
    assert capsys.readouterr().out.splitlines() == [
        "user: nothing differs",
        f"{len(failing)} could not be read in several tries, and the consumer goes on with them: "
        "dingbridge consume staff --show",
    ]
    assert min(busy["asked"]["user", userid] for userid in known) == 1
    title = f"not read so far, and tried again: {len(failing)}, of which {len(failing)} are here"
    assert resync.shown() == [(title, [("user", userid, "Unavailable") for userid in failing])]
    assert resync() == 0
    busy["user"].clear()
    assert resync() == 0
    assert resync.shown() == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("call", "an_id"), [("visible_scope", ""), ("sub_departments", 1)])
def test_it_ends_in_words_when_nothing_of_a_kind_is_answered(resync, busy, call, an_id):
    busy[call].add(an_id)
    with pytest.raises(BridgeError, match=r"answers 502\. What is to be read is kept"):
        resync()


def test_a_dry_run_names_what_could_not_be_read_and_goes_on(resync, company, busy, capsys):
    busy["user"].add("u1")
    company.department_of(2, "研发部")
    busy["sub_departments"].add(2)
    assert resync(dry_run=True) == 0
    assert capsys.readouterr().out.splitlines() == [
        "listing 2: could not be read",
        "user u0: new",
        "user u2: new",
        "user u1: could not be read",
        "a dry run: 2 entities would change, 2 could not be read, and nothing did",
    ]
    busy["user"] |= {"u0", "u2"}
    with pytest.raises(BridgeError, match="Nothing was changed"):
        resync(dry_run=True)


def test_another_consumer_is_refused_in_words(resync):
    with pytest.raises(SettingsError, match="consumer billing is no Mirror"):
        resync("billing")
