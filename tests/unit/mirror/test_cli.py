"""``dingbridge resync staff``: what it does, and whom it refuses."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import structlog
import typer
from sqlalchemy import Column, MetaData, Text

from dingbridge import Consumer, Mirror, people_table
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
        return raised.value.exit_code

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


def test_another_consumer_is_refused_in_words(resync):
    with pytest.raises(SettingsError, match="consumer billing is no Mirror"):
        resync("billing")
