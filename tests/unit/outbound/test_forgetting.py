"""Whose requests ``dingbridge forget`` empties: those that name the person by id."""

import json

from sqlalchemy import insert, select

from dingbridge import Person, open_database
from dingbridge.consumers.outbound.requests.forgetting import forget
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import metadata

CORP = "dingcorp01"
NAME = "王伟"


def request(request_id, **body):
    return {
        "corp_id": CORP,
        "kind": "todo",
        "request_id": request_id,
        "type": "todo.desired",
        "body": json.dumps({"corpId": CORP, **body}, ensure_ascii=False),
        "source": "/oa",
        "message_id": request_id,
        "result": "done",
    }


async def test_a_namesake_s_requests_and_a_number_in_a_form_are_left_and_counted(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'outbound.db'}")
    await database.create_tables(metadata)
    rows = [
        request("theirs", creator="1024", subject=f"{NAME}的待办"),
        request("of a namesake", creator="7", subject="王伟明的待办"),
        request("of a number", creator="7", form={"amount": "1024"}),
        request("of nobody", creator="7", subject="年报"),
    ]
    async with database.transaction() as tx:
        await tx.execute(insert(outbound_requests), rows)
        forgotten = await forget(tx, Person(CORP, "1024", frozenset({NAME})))
    kept = {
        row.request_id: json.loads(row.body).keys() - {"corpId", "creator"}
        for row in await database.reader().execute(select(outbound_requests))
    }
    await database.close()
    assert kept == {
        "theirs": set(),
        "of a namesake": {"subject"},
        "of a number": {"form"},
        "of nobody": {"subject"},
    }
    assert forgotten.masked == {outbound_requests.name: 1}
    assert [words.split()[0] for words in forgotten.stays] == ["2"]
