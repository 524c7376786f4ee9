"""Whether a message may act on another sender's request, and in a person's name: by the lists of the owners
file, and not too often in a day.

Asked before a request's first call (no ``opened_ms``). For a request that an operator releases after the
database went back, the lists count and the limit does not.
"""

from typing import Final

from dingbridge import Reader
from dingbridge.consumers.outbound.limits import is_left
from dingbridge.consumers.outbound.owners import EVERYBODY, VARIABLE, Owners
from dingbridge.consumers.outbound.requests.steps import Answer
from dingbridge.consumers.outbound.requests.tables import Request
from dingbridge.consumers.outbound.store import named

_AGAIN_S: Final = 900.0
_LIMIT: Final = (
    "OUTBOUND_MAX_APPROVALS is used up for 24 h; it goes on by itself as these pass, or with a higher limit"
)
_ANOTHERS: Final = (
    "Another sender (`source`) made the request that data.request names; only that sender may act on it"
)


async def refusal(
    db: Reader,
    owners: Owners,
    request: Request,
    target: Request | None,
    *,
    app: str,
    most: int,
    now_ms: int,
) -> Answer | None:
    """Why ``request`` may not be carried out, or not now; None: it may. ``target`` is the request that it
    names, ``most`` the day's limit of the app ``app``."""
    begun = request.opened_ms is not None
    if begun and request.reason != "unknown":
        return None
    # Invariant 7: what a sender started is that sender's
    if target is not None and target.source != request.source:
        return Answer("refused", words=_ANOTHERS)
    if request.kind != "approval":
        return None
    own_id, code = request.body["originator"], request.body["processCode"]
    listed = owners.template(code).originators
    everybody = EVERYBODY in listed and await named(db, request.corp_id, "user", [own_id])
    if own_id not in listed and not everybody:
        words = (
            f"{own_id} may not start approvals of this template by a message. If that is wanted, add "
            f'"{own_id}" to originators of [templates."{code}"] in the file of {VARIABLE}'
        )
        return Answer("refused", words=words)
    if not begun and not await is_left(db, "approvals", app, most, now_ms):
        return Answer("pending", reason="approval-limit", words=_LIMIT, after_s=_AGAIN_S)
    return None
