"""An archive of version 0.1 is taken over whole, on both databases."""

import json
from datetime import datetime

from sqlalchemy import inspect, select, text

from consumers.approval import Approval
from consumers.approval.components import PARSER
from consumers.approval.tables import (
    approval_actions,
    approval_attachments,
    approval_form_values,
    approval_instances,
    approval_table_cells,
    approval_tasks,
)
from dingbridge import open_database
from dingbridge.testing.memory import MemoryRuntime
from dingbridge.worker.store.migrations import _run, _scripts, migrate
from tests.unit.approval.office import CORP, LEAVE, Office, T, field, instance

TABLE = '[{"rowValue":[{"label":"金额","value":"12.50","key":"k","componentType":"MoneyField"}]}]'
FILES = '[{"spaceId":"1","fileId":"9","fileName":"a.pdf","fileSize":"3","fileType":"pdf"}]'


def tables_of_version_0_1(connection):
    """Made by ``create_all``, so without a table that says at which revision they are."""
    _run(connection, _scripts("consumers.approval.migrations"), "version", to="0001")
    connection.execute(text("DROP TABLE version"))


def filled(connection, document):
    row = {
        "corp_id": CORP,
        "instance_id": "pi-1",
        "process_code": "PROC-LEAVE",
        "outcome": "approved",
        "document_state": "full",
        "raw_events": json.dumps(
            {
                "finish": {
                    "time": "2024-11-07T17:21:40.000+00:00",
                    "data": {"type": "finish", "result": "agree"},
                }
            }
        ),
        "raw_document": json.dumps(document),
        "updated_at": "2024-11-07T17:22:00Z",
    }
    if connection.dialect.name == "postgresql":
        row["updated_at"] = datetime.fromisoformat(row["updated_at"])
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(
        text(f"INSERT INTO approval_instances ({names}) VALUES ({values})"),
        [row, {**row, "instance_id": "pi-2"}],
    )
    for table, columns, values in (
        ("approval_form_values", "position, name, value", "0, '请假类型', '年假'"),
        ("approval_tasks", "position, task_id, userid", "0, '61056035232', 'u002'"),
        (
            "approval_actions_done",
            "process_code, action, done_at",
            "'PROC-LEAVE', 'm.f', '2024-11-07T17:22:00Z'",
        ),
    ):
        connection.execute(
            text(f"INSERT INTO {table} (corp_id, instance_id, {columns}) VALUES ('{CORP}', 'pi-1', {values})")
        )
    connection.execute(
        text(
            "INSERT INTO approval_actions_rejected (corp_id, instance_id, process_code, action, reason, "
            f"rejected_at) VALUES ('{CORP}', 'pi-2', 'PROC-LEAVE', 'm.f', 'no days', '2024-11-07T17:22:00Z')"
        )
    )


async def test_an_archive_of_version_0_1_is_taken_over_whole(database_url):
    form = [field(name, value) for name, value in LEAVE.items()]
    form += [field("明细", TABLE, "TableField"), field("发票", FILES, "DDAttachment")]
    document = Office().finish(form=form)
    database = open_database(database_url)
    async with database.transaction() as tx:
        await tx.connection.run_sync(tables_of_version_0_1)
        await tx.connection.run_sync(filled, document)
    await migrate(database, Approval)
    async with database.reading() as connection:
        names = await connection.run_sync(lambda c: inspect(c).get_table_names())
    await database.close()
    assert not {"approval_actions_done", "approval_actions_rejected"} & set(names)

    office = Office()
    async with MemoryRuntime(Approval(), database_url=database_url, dingtalk=office) as archive:
        actions = {row.instance_id: row for row in await archive.rows(select(approval_actions))}
        assert (actions["pi-1"].state, actions["pi-1"].action) == ("done", "m.f")
        assert actions["pi-1"].done_at.isoformat() == "2024-11-07T17:22:00+00:00"
        assert (actions["pi-2"].state, actions["pi-2"].reason) == ("rejected", "no days")

        await archive.consumer.parse_again()
        parsed = await archive.rows(select(approval_instances.c.parsed_with))
        assert [row.parsed_with for row in parsed] == [PARSER, PARSER]
        values = await archive.rows(
            select(approval_form_values).where(approval_form_values.c.instance_id == "pi-1")
        )
        assert [row.name for row in values] == [*LEAVE, "明细", "发票"]
        cells = await archive.rows(select(approval_table_cells))
        assert [(float(cell.number), cell.kind) for cell in cells] == [(12.5, "money")] * 2
        assert {row.task_id for row in await archive.rows(select(approval_tasks))} == {"61056035232"}
        assert {row.state for row in await archive.rows(select(approval_attachments))} == {"off"}
        assert office.calls.total() == 0

        # what it has done before it does not do again, and takes back
        office.approvals["pi-1"] = document
        assert (await archive.deliver(instance("finish"))).kind == "done"
        assert (await archive.deliver(instance("delete", T + 200_000))).kind == "done"
        (row,) = await archive.rows(select(approval_actions).where(approval_actions.c.instance_id == "pi-1"))
        assert row.state == "revoked"
