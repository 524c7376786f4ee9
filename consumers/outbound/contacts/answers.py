"""What the OA receives about a person or a department: results of its messages, and people's changes."""

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import Row

from dingbridge import Transaction
from dingbridge.consumers.outbound.forms import Answers, ChangeData, OldNew, ResultData
from dingbridge.consumers.outbound.ledger import Change, Result
from dingbridge.consumers.outbound.messages import change_record, result_record
from dingbridge.consumers.outbound.store import in_own_ids, now_ms, put

_ABSENT = "{what} is not in DingTalk yet, or not released; send it, or what it waits for itself"
WORDS = {
    "parent-missing": _ABSENT,
    "department-missing": _ABSENT,
    "manager-missing": "{what} is not in DingTalk yet, not released, or not in the department; "
    "all else is done",
    "acceptance": "The person must accept the invitation in DingTalk",
    "adopted": "{ding_id} was there before; `dingbridge outbound plan` shows what differs, and "
    "`release {own_id}` gives it to {own_id}",
    "adopted absent": "{ding_id} was there before. Look at it in DingTalk: `dingbridge outbound release "
    "{own_id}` removes it",
    "somebody-else": "{own_id}: {ding_id} in DingTalk is not, or may not be, what {own_id} created or was "
    "given: its {why} differs. It is left alone. Look at it in DingTalk; then `dingbridge outbound release "
    "{own_id}` searches again, and gives nobody away yet",
    "removal-approval": "The day's removals are used up; `dingbridge outbound approve <id>` lets it go on",
    "update-approval": "The day's updates are used up; `dingbridge outbound approve <id>` lets it go on",
    "grace": "Is removed when OUTBOUND_GRACE_DAYS are over",
    "not-empty": "People or departments are in it; it is removed when they are gone",
}
"""The remedy for each pending result or conflict."""


def in_words(result: Result, own_id: str, waits_for: str | None, *, absent: bool) -> Result:
    """``result`` with its remedy."""
    if result.words is not None or result.reason not in WORDS:
        return result
    words = WORDS.get(f"{result.reason} absent" if absent else "") or WORDS[result.reason]
    what = (waits_for or "what it names").replace(":", " ", 1)
    known = {"what": what, "own_id": own_id, "ding_id": result.ding_id, "why": ", ".join(result.fields)}
    return replace(result, words=words.format(**known))


async def send_result(
    tx: Transaction, row: Row[Any], result: Result, *, request: str | None = None, answers: str | None = None
) -> None:
    """Send the result to the sender of the row's last message, or of the one that ``request`` and ``answers``
    name."""
    data = ResultData(
        corp_id=row.corp_id, kind=row.kind, id=row.own_id,
        request=request or f"{row.kind}.{'absent' if row.absent else 'desired'}",
        version=result.version, result=result.result, reason=result.reason, code=result.code,
        words=result.words, dingtalk_id=result.ding_id, fields=list(result.fields) or None,
        answers=Answers(**json.loads(answers or row.answers)),
    )  # fmt: skip
    await put(tx, result_record(data, app=row.app, turn=row.claims, now_ms=now_ms()))


def last_result(row: Row[Any]) -> Result:
    fields = tuple(json.loads(row.fields or "[]"))
    return Result(row.result, row.version, row.reason, row.code, row.words, row.ding_id, fields)


async def send_change(tx: Transaction, row: Row[Any], change: Change, ding_id: str | None) -> None:
    """Report what a person changed, with own ids where the ledger knows them."""
    fields = {
        name: OldNew(
            old=await in_own_ids(tx, row.corp_id, name, old),
            new=await in_own_ids(tx, row.corp_id, name, new),
        )
        for name, (old, new) in change.fields.items()
    }
    data = ChangeData(
        corp_id=row.corp_id, kind=row.kind, id=row.own_id, verdict=change.verdict,
        dingtalk_id=ding_id, fields=fields, by=row.by_userid,
    )  # fmt: skip
    await put(tx, change_record(data, app=row.app, turn=row.claims, now_ms=now_ms()))
