"""A newer parser reads the archive's documents again."""

from sqlalchemy import select, update
from structlog.testing import capture_logs

from consumers.approval import document
from consumers.approval.components import PARSER
from consumers.approval.tables import approval_instances
from tests.unit.approval.office import deliver, instance


async def test_a_document_that_a_newer_parser_cannot_read_stops_nothing(archive, office, monkeypatch):
    ids = [f"pi-{number}" for number in range(3)]
    for id_ in ids:
        office.finish(id_, title=f"leave {id_}")
        await deliver(archive, instance("finish", processInstanceId=id_, result="agree"))
    async with archive.database.transaction() as tx:
        await tx.execute(update(approval_instances).values(parsed_with=0))
    read = document.form_rows

    def form_rows(known, zone):
        if known["title"] == "leave pi-0":
            raise KeyError("a component of tomorrow's")
        return read(known, zone)

    monkeypatch.setattr(document, "form_rows", form_rows)
    with capture_logs() as logs:
        await archive.consumer.parse_again()
    assert [log["instance_id"] for log in logs if log["event"] == "approval.not_parsed"] == ["pi-0"]
    columns = approval_instances.c
    rows = await archive.rows(select(columns.instance_id, columns.parsed_with).order_by(columns.instance_id))
    assert [(row.instance_id, row.parsed_with == PARSER) for row in rows] == [
        ("pi-0", False),
        ("pi-1", True),
        ("pi-2", True),
    ]
