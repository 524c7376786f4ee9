"""Whether an entity in DingTalk is still the one that the row owns. Pure.

A userid can be given again, to somebody else; a ``unionid`` is one person's (query-user-details). A dept_id
is DingTalk's; a ``source_identifier`` is what an app gave the department.
"""

from collections.abc import Mapping
from typing import Final

from dingbridge.consumers.outbound.fields import same
from dingbridge.consumers.outbound.ledger import Kind, Ledger, Observed

_MARK: Final[dict[Kind, str]] = {"user": "unionid", "department": "source_identifier"}
_TELLING: Final[dict[Kind, tuple[str, ...]]] = {"user": ("mobile", "name"), "department": ("name", "parent")}
"""The fields that are compared where no mark is known."""


def mark_in(kind: Kind, reply: Mapping[str, object]) -> str | None:
    """The mark in a ``v2/user/get`` or ``v2/department/get`` reply, if there is one."""
    return str(reply.get(_MARK[kind]) or "") or None


def stranger(kind: Kind, ledger: Ledger, observed: Observed, *, removing: bool) -> str | None:
    """The field by which ``observed`` is, or may be, another entity than ``ledger`` owns; None: the same one.

    Without a mark any difference stops a removal. A write to a person is stopped only when all fields differ,
    since people are renamed and get new numbers. A dept_id is never given again.
    """
    if observed.ding_id != ledger.owned_id:
        return "id"
    if ledger.mark is not None and observed.mark is not None:
        return None if ledger.mark == observed.mark else _MARK[kind]
    seen, here = ledger.seen, observed.fields
    if seen is None:
        return _MARK[kind] if removing else None
    telling = _TELLING[kind]
    differing = [n for n in telling if n in seen and n in here and not same(n, seen[n], here[n])]
    enough = 1 if removing else len(telling) if kind == "user" else len(telling) + 1
    return differing[0] if len(differing) >= enough else None
