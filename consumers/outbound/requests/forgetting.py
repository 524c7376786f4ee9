"""Takes a person out of outbound's tables. The row stays, without the person's data: it keeps the last
version, so that no older message is carried out, and ids that reveal no name."""

import json
from collections import Counter
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, not_, or_, select, update

from dingbridge import Forgotten, Person, Transaction
from dingbridge.consumers.outbound.contacts.rows import as_json, entity_of, is_
from dingbridge.consumers.outbound.ledger import Ledger
from dingbridge.consumers.outbound.requests.store import ENDED
from dingbridge.consumers.outbound.requests.tables import key_of, outbound_requests
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.worker.store.forgetting import texts_in

_e, _r = outbound_entity.c, outbound_requests.c

_TEXTS: Final = ("form", "subject", "description", "remark", "url")
"""The fields of a request except ids and codes by which later requests refer to it."""

_NOTHING: Final[dict[str, Any]] = {
    "owned_id": None, "present": False, "flagged": False, "removal_approved": False, "by_userid": None,
    "reason": None, "code": None, "words": None, "fields": None, "waits_for": None, "due_ms": None,
    "leased_ms": 0, "attempts": 0, "failed_ms": None, "failing_since_ms": None,
}  # fmt: skip


async def forget(tx: Transaction, person: Person) -> Forgotten:
    """A row whose desired state is that the person exists makes the person ``wanted``."""
    here = (_e.corp_id == person.corp_id, _e.kind == "user")
    named = or_(_e.ding_id == person.userid, _e.owned_id == person.userid)
    rows = (await tx.execute(select(outbound_entity).where(*here, named).with_for_update())).all()
    masked, texts, wanted = Counter[str](), set[str](), []
    for row in rows:
        texts |= _texts(row)
        if not row.absent:
            wanted.append(row.own_id)
        masked[outbound_entity.name] += await _scrub(tx, row)
    ids = {person.userid, *(row.own_id for row in rows)}
    masked[outbound_requests.name], stays = await _requests(tx, person.corp_id, ids, person.texts | texts)
    words = f"the OA wants {', '.join(sorted(wanted))} in DingTalk; let it send user.absent first"
    return Forgotten(masked=masked, stays=stays, texts=frozenset(texts), wanted=words if wanted else None)


def _texts(row: Row[Any]) -> frozenset[str]:
    ledger = entity_of(row).ledger
    found = (json.loads(row.desired), ledger.seen or {}, ledger.written)
    return frozenset().union(*map(texts_in, found))


async def _scrub(tx: Transaction, row: Row[Any]) -> bool:
    """Keep of ``row`` only what stops a replay, as if the OA's last message had been carried out."""
    desired = {name: value for name, value in json.loads(row.desired).items() if name == "userid"}
    done = row.result if row.absent and row.result in ("done", "unchanged") else "superseded"
    values = {
        **_NOTHING, "desired": json.dumps(desired), "absent": True, "result": done,
        "ledger": as_json(Ledger(done_version=row.version)),
    }  # fmt: skip
    if all(getattr(row, name) == value for name, value in values.items()):
        return False
    # an agent that works on it begins again
    values["claims"] = _e.claims + 1
    await tx.execute(update(outbound_entity).where(is_((row.corp_id, row.kind, row.own_id))).values(**values))
    return True


async def _requests(
    tx: Transaction, corp_id: str, ids: set[str], texts: frozenset[str]
) -> tuple[int, list[str]]:
    """Empty the finished requests that name the person by id; returns how many, and in words what stays."""
    names: list[ColumnElement[bool]] = [_r.body.contains(_quoted(one), autoescape=True) for one in ids]
    names += [_r.body.contains(text, autoescape=True) for text in texts if len(text) > 1]
    of_person = and_(_r.corp_id == corp_id, or_(*names))
    count = unsure = 0
    for row in (await tx.execute(select(outbound_requests).where(of_person, ENDED))).all():
        body = json.loads(row.body)
        left = {name: value for name, value in body.items() if name not in _TEXTS}
        if left == body:
            continue
        kept = json.dumps(left, ensure_ascii=False, sort_keys=True)
        if not any(_quoted(one) in kept for one in ids):  # somebody else of that name, or a number in a form
            unsure += 1
            continue
        where = key_of(corp_id, row.kind, row.request_id)
        await tx.execute(update(outbound_requests).where(where).values(body=kept))
        count += 1
    others = (await tx.execute(select(_r.request_id).where(of_person, not_(ENDED)))).all()
    stays = [f"{len(others)} requests that are not over; ask again then"] if others else []
    if unsure:
        stays.append(
            f"{unsure} requests of others hold a name, number or address of this person in a text, without "
            "the id, so it may be somebody else's; look at outbound_requests.body"
        )
    return count, stays


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
