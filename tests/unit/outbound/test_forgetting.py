"""Whose requests are taken out when a person is forgotten."""

import json

from sqlalchemy import select, update

from consumers.outbound.requests.forgetting import forget
from consumers.outbound.requests.tables import outbound_requests
from consumers.outbound.tables import metadata
from dingbridge import Person
from tests.unit.outbound.test_requests import CORP, World


async def test_a_name_is_no_part_of_a_word_in_somebody_elses_request():
    world = World()
    await world.database.create_tables(metadata)
    await world.send("todo.desired", "T-1", subject="client list", executors=["wang"])
    await world.send("todo.desired", "T-2", subject="for Li: 盘点", executors=["wang"])
    async with world.database.transaction() as tx:
        await tx.execute(update(outbound_requests).values(result="done", due_ms=None))
        found = await forget(tx, Person(CORP, "u17", frozenset({"Li"})))
    assert found.masked["outbound_requests"] == 1
    rows = await world.database.reader().execute(select(outbound_requests))
    said = {row.request_id: json.loads(row.body).get("subject") for row in rows}
    assert said == {"T-1": "client list", "T-2": None}
    await world.database.close()
