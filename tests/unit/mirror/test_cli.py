"""``dingbridge resync staff``: what it asks, and whom it refuses."""

import pytest
from dingbridge.consumers.address_sync.cli import command
from sqlalchemy import Column, MetaData, Text

from dingbridge import Consumer, Mirror, people_table
from dingbridge.errors import SettingsError
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.event import decode
from dingbridge.mirror import cli


class Staff(Mirror):
    name = "staff"
    table = people_table("staff", MetaData(), Column("name", Text))


class Billing(Consumer):
    name = "billing"


@pytest.fixture
def written(monkeypatch):
    found = []

    async def write(settings, consumer, record):
        found.append((consumer, decode(record.value)))

    monkeypatch.setattr(cli, "write_to_inbox", write)
    monkeypatch.setattr(cli, "load_consumer", {"staff": Staff, "billing": Billing}.__getitem__)
    return found


def test_a_mirror_is_asked_in_its_inbox(written, capsys):
    command(consumer="staff")
    [(consumer, request)] = written
    assert (consumer, request.type, request.data["part"]) == ("staff", RESYNC_REQUESTED, "all")
    assert "compares everybody with DingTalk" in capsys.readouterr().err


def test_another_consumer_is_refused_in_words(written):
    with pytest.raises(SettingsError, match="consumer billing is no Mirror"):
        command(consumer="billing")
    assert written == []
