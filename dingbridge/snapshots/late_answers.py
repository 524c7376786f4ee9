"""An answer of DingTalk's may be older than the event that it is asked about: when to look again, and when to
believe it. Pure; the one policy of all consumers.

No page promises a read after an event, and none says how late one may be, so an answer that disagrees with
its event is looked at again after 2, 10 and 60 s, and is then believed. Not here: where a later look is kept
(``dingbridge/mirror``), and approvals, which are believed at their end only.
"""

from typing import Final, Literal

Said = Literal["present", "absent", "changed"]
"""What an event says of its entity: it is there now, it is gone, or something about it has changed."""

LOOK_AGAIN_S: Final = (2.0, 10.0, 60.0)
"""How long to wait, in s, after the first, the second and the third look at an event's entity."""

ABSENT_AGAIN_S: Final = 3600.0
"""When somebody is looked at once more, in s, who was to be there and was at last believed not to be: nothing
else would find out before the next full comparison."""

_SAID: Final[dict[str, Said]] = {
    "user_add_org": "present",
    "org_dept_create": "present",
    "user_leave_org": "absent",
    "org_dept_remove": "absent",
}


def said_by(event_type: str) -> Said:
    """What an event of ``event_type`` (DingTalk's name, as ``user_add_org``) says of what it names."""
    return _SAID.get(event_type, "changed")


def agrees(said: Said, *, exists: bool, changed: bool) -> bool:
    """Whether an answer shows what the event said. ``exists``: the answer has the entity; ``changed``: it
    differs from what was known before. Who is gone after a change is believed only later
    (user_modify_org comes for people who do not exist, too)."""
    if said == "present":
        return exists
    if said == "absent":
        return not exists
    return exists and changed


def may_be_old(told: float, now: float) -> bool:
    """Whether an answer at ``now`` may be older than an event that came at ``told`` (epoch s of our own
    clocks): a backlog and a replay need no second look."""
    return now - told < sum(LOOK_AGAIN_S)


def look_again_s(looks: int) -> float | None:
    """How long to wait, in s, for another look after ``looks`` of them that disagreed with the event; None:
    what DingTalk says is believed."""
    return LOOK_AGAIN_S[looks - 1] if 1 <= looks <= len(LOOK_AGAIN_S) else None
