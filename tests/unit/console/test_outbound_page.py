"""Outbound's page opens whatever waits in its tables."""

from pathlib import Path

import pytest

from dingbridge import open_database
from dingbridge.console.access.users import Role
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import metadata, outbound_entity
from dingbridge.consumers.outbound.waiting import STATES
from tests.unit.console.support import browser, settings_in, use_quick_hasher
from tests.unit.outbound.ledger_rows import NOON_MS, row

ODD = "\ufeff<b>'\"{{ 7*7 }}\x7f" + "很长" * 200


def request(number: int, kind: str, result: str) -> dict[str, object]:
    body = {"body": "{}", "source": "/oa", "message_id": "m", "result": result, "result_ms": NOON_MS}
    named = {"corp_id": "c1", "kind": kind, "request_id": f"{ODD}{number}", "type": f"{kind}.start"}
    return {**named, **body, "words": ODD, "reason": ODD, "code": "88"}


async def test_each_state_is_shown_approvals_and_to_dos_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_quick_hasher(monkeypatch)
    database = open_database(f"sqlite:///{tmp_path / 'outbound.db'}")
    await database.create_tables(metadata)
    waiting = ("removal-approval", "update-approval", "adopted", ODD)
    results = [*(("pending", reason) for reason in waiting), ("conflict", None)]
    async with database.transaction() as tx:
        rows = [
            row(f"{ODD}{n}", result, reason, fields='["name"]', words=ODD, kind=kind)
            for n, (result, reason) in enumerate([*results, ("refused", ODD)])
            for kind in ("user", "department")
        ]
        await tx.execute(outbound_entity.insert(), rows)
        asked = [
            (kind, result) for kind in ("approval", "todo") for result in ("pending", "refused", "conflict")
        ]
        requests = [request(number, *one) for number, one in enumerate(asked)]
        await tx.execute(outbound_requests.insert(), requests)
    await database.close()
    async with browser(settings_in(tmp_path)) as who:
        for role in (Role.VIEWER, Role.READER, Role.OPERATOR):
            await who.log_in(role)
            for state in ("", *STATES, "requests", "no such"):
                answer = await who.get("/outbound", params={"state": state})
                assert answer.status == 200, (role, state)
                text = await answer.text()
                assert "Approvals and to-dos: 6" in text or state
                assert "<b>'" not in text
