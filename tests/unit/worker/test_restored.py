"""The mark in a restored database: it stops a start until the offsets are set back, and is told of once."""

from pathlib import Path

import pytest

from dingbridge import Position, Restored, Transaction, open_database
from dingbridge.worker.store.restored import NotSetBack, is_restored, mark, marks, notify, set_back


async def test_a_restored_database_is_told_of_once_when_its_offsets_are_set_back(tmp_path: Path) -> None:
    database, told = open_database(f"sqlite:///{tmp_path}/a.db"), list[Restored]()

    async def hook(restored: Restored, tx: Transaction) -> None:
        told.append(restored)
        if len(told) == 1:
            raise ConnectionError

    assert not await is_restored(database, "billing")
    await mark(database, ["billing"], "first", 1)
    await set_back(database, "billing", {})
    await mark(database, ["billing"], "second", 2)  # of a copy that was made before the consumer had started
    await mark(database, ["billing"], "second", 2)  # as after a kill
    with pytest.raises(NotSetBack, match="dingbridge restore"):
        await is_restored(database, "billing")
    assert not await is_restored(database, "another")
    await set_back(database, "billing", {"t": {"0": 5}})
    await mark(database, ["billing"], "second", 2)
    assert await is_restored(database, "billing")
    with pytest.raises(ConnectionError):
        await notify(database, "billing", hook)
    await notify(database, "billing", hook)
    await notify(database, "billing", hook)
    assert (len(told), told[1].at_ms, await marks(database)) == (2, 2, {})
    assert told[1].may_be_known(Position("t", 0, 4))
    assert not any(told[1].may_be_known(Position(*at)) for at in (("t", 0, 5), ("t", 1, 4), ("u", 0, 0)))
    await database.close()
