"""Takes a person out of outbound's tables. The row stays without what was said of the person: it knows the
last version, so that no older message is carried out, and ids that no name follows from."""

import json
import re
from collections import Counter
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, or_, select, update

from consumers.outbound.contacts.rows import as_json, entity_of, is_
from consumers.outbound.ledger import Ledger
from consumers.outbound.requests.store import ENDED
from consumers.outbound.requests.tables import key_of, outbound_requests
from consumers.outbound.tables import outbound_entity
from dingbridge import Forgotten, Person, Transaction
from dingbridge.worker.store.forgetting import alone, texts_in

_e, _r = outbound_entity.c, outbound_requests.c

_SAID: Final = ("form", "subject", "description", "remark", "url")
"""What a request says, beside the ids and codes by which later ones refer to it."""

_NOTHING: Final[dict[str, Any]] = {
    "owned_id": None, "present": False, "flagged": False, "removal_approved": False, "by_userid": None,
    "reason": None, "code": None, "words": None, "fields": None, "waits_for": None, "due_ms": None,
    "leased_ms": 0, "attempts": 0, "failed_ms": None, "failing_since_ms": None,
}  # fmt: skip


async def forget(tx: Transaction, person: Person) -> Forgotten:
    """A row whose last word is that the person shall be there makes the person ``wanted``."""
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
    count, under_way = await _requests(tx, person.corp_id, ids, person.texts | texts)
    masked[outbound_requests.name] = count
    stays = [f"{under_way} requests that are not over; ask again then"] if under_way else []
    words = f"the OA wants {', '.join(sorted(wanted))} in DingTalk; let it send user.absent first"
    return Forgotten(masked=masked, stays=stays, texts=frozenset(texts), wanted=words if wanted else None)


def _texts(row: Row[Any]) -> frozenset[str]:
    ledger = entity_of(row).ledger
    return frozenset().union(*map(texts_in, (json.loads(row.wish), ledger.seen or {}, ledger.written)))


async def _scrub(tx: Transaction, row: Row[Any]) -> bool:
    """Leave of ``row`` what stops a replay: as if the OA's last word, whatever it was, were carried out."""
    wish = {name: value for name, value in json.loads(row.wish).items() if name == "userid"}
    done = row.result if row.absent and row.result in ("done", "unchanged") else "superseded"
    values = {
        **_NOTHING, "wish": json.dumps(wish), "absent": True, "result": done,
        "ledger": as_json(Ledger(done_version=row.version)),
    }  # fmt: skip
    if all(getattr(row, name) == value for name, value in values.items()):
        return False
    # whoever is at it begins again
    values["claims"] = _e.claims + 1
    await tx.execute(update(outbound_entity).where(is_((row.corp_id, row.kind, row.own_id))).values(**values))
    return True


async def _requests(tx: Transaction, corp_id: str, ids: set[str], texts: frozenset[str]) -> tuple[int, int]:
    """Take out what was said in requests that name the person and are over; how many these were, and how many
    others there are, which are under way."""
    texts = frozenset(text for text in texts if len(text) > 1)
    names: list[ColumnElement[bool]] = [_r.body.contains(_quoted(one), autoescape=True) for one in ids]
    names += [_r.body.contains(text, autoescape=True) for text in texts]
    told = re.compile("|".join([*map(re.escape, map(_quoted, ids)), *map(alone, texts)]))
    count = under_way = 0
    listed = select(outbound_requests, ENDED.label("ended")).where(_r.corp_id == corp_id, or_(*names))
    for row in (await tx.execute(listed)).all():
        if not told.search(row.body):  # "Li" stands in "client" for the database
            continue
        if not row.ended:
            under_way += 1
            continue
        body = json.loads(row.body)
        left = {name: value for name, value in body.items() if name not in _SAID}
        if left == body:
            continue
        values = {"body": json.dumps(left, ensure_ascii=False, sort_keys=True)}
        await tx.execute(
            update(outbound_requests).where(key_of(corp_id, row.kind, row.request_id)).values(**values)
        )
        count += 1
    return count, under_way


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
