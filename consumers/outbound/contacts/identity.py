"""Whether what DingTalk shows is still the row's own. Pure.

A userid can be given again, to somebody else; a ``unionid`` is one person's (query-user-details). A dept_id
is DingTalk's; a ``source_identifier`` is what an app gave the department.
"""

from typing import Final

from consumers.outbound.fields import same
from consumers.outbound.ledger import Kind, Ledger, Observed

_MARK: Final[dict[Kind, str]] = {"user": "unionid", "department": "source_identifier"}
_TELLING: Final[dict[Kind, tuple[str, ...]]] = {"user": ("mobile", "name"), "department": ("name", "parent")}
"""What tells one from another where no mark is known."""


def mark_in(kind: Kind, reply: dict[str, object]) -> str | None:
    """The mark in a ``v2/user/get`` or ``v2/department/get`` reply, if there is one."""
    return str(reply.get(_MARK[kind]) or "") or None


def stranger(kind: Kind, ledger: Ledger, observed: Observed, *, removing: bool) -> str | None:
    """The name of what says that ``observed`` is not what ``ledger`` owns, or may not be; None: it is. A
    removal is stopped by a doubt; a write is not, since people are renamed and get new numbers."""
    if observed.ding_id != ledger.owned_id:
        return "id"
    if ledger.mark is not None and observed.mark is not None:
        return None if ledger.mark == observed.mark else _MARK[kind]
    seen = ledger.seen
    if not removing or seen is None:
        return None
    differing = (
        name
        for name in _TELLING[kind]
        if name in seen and name in observed.fields and not same(name, seen[name], observed.fields[name])
    )
    return next(differing, None)
