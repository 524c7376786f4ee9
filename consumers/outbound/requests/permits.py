"""Whether a message may act on another sender's request, and in a person's name: by the lists of the owners
file, and not too often in a day.

Asked before a request's first call (no ``opened_ms``). For a request that an operator releases after the
database went back, the lists count and the limit does not.
"""

from typing import Final, Literal

from dingbridge import Reader
from dingbridge.consumers.outbound.limits import is_left
from dingbridge.consumers.outbound.owners import EVERYBODY, VARIABLE, Owners
from dingbridge.consumers.outbound.requests.steps import Answer
from dingbridge.consumers.outbound.requests.tables import Request
from dingbridge.consumers.outbound.store import named

COUNTED: Final = ("approval.start", "approval.decide")
"""What the daily limit counts. A termination takes back a start, which was counted."""
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
    of = request if request.type == "approval.start" else target
    role: Literal["originators", "actors"] = "actors" if request.type == "approval.decide" else "originators"
    own_id = request.body.get("actor" if role == "actors" else "originator")
    begun = request.opened_ms is not None
    if begun and request.reason != "unknown":
        return None
    # Invariant 7: what a sender started is that sender's
    if target is not None and target.source != request.source:
        return Answer("refused", words=_ANOTHERS)
    if request.kind != "approval" or of is None or own_id is None:
        return None
    code = of.body["processCode"]
    listed = owners.allowed(role, code)
    everybody = EVERYBODY in listed and await named(db, request.corp_id, "user", [own_id])
    if own_id not in listed and not everybody:
        done = "decide" if role == "actors" else "start or terminate"
        words = (
            f"{own_id} may not {done} approvals of this template by a message. If that is wanted, add "
            f'"{own_id}" to {role} of [templates."{code}"] in the file of {VARIABLE}'
        )
        return Answer("refused", words=words)
    counted = request.type in COUNTED and not begun
    if counted and not await is_left(db, "approvals", app, most, now_ms):
        return Answer("pending", reason="approval-limit", words=_LIMIT, after_s=_AGAIN_S)
    return None
