"""examples/scale/tables/postgres.sql keeps what is published, for every type, once."""

import json

import asyncpg

from dev.schemas.files import ROOT
from dingbridge.events import catalogue
from tests.support.recorded import records_of


async def test_the_table_keeps_every_recorded_record_once(postgres_url: str) -> None:
    records = [record for event_type in catalogue for record in records_of(event_type)]
    database = await asyncpg.connect(postgres_url)
    try:
        await database.execute((ROOT / "examples/scale/tables/postgres.sql").read_text(encoding="utf-8"))
        for record in [*records, *records]:  # each may come again
            await database.execute("SELECT keep_event($1)", json.dumps(record))
        rows = {(row["source"], row["id"]): row for row in await database.fetch("TABLE events")}
    finally:
        await database.close()
    assert rows.keys() == {(record["source"], record["id"]) for record in records}
    for record in records:
        row = rows[record["source"], record["id"]]
        assert (row["type"], row["subject"]) == (record["type"], record.get("subject"))
        assert json.loads(row["data"]) == record["data"]
