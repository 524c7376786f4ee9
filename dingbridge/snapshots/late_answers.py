"""Delays for answers of DingTalk's API from before an event: when to ask again. Pure.

DingTalk's documentation does not say how late its API may be. So when an answer disagrees with its event, the
entity is fetched again after 2, 10 and 60 s. Approvals are believed at their
end only. ``dingbridge/mirror/answers.py`` adds the hour.
"""

from typing import Final, Literal

Said = Literal["present", "absent", "changed"]
"""What an event reports of its entity: it is there now, it is gone, or something about it has changed."""

LOOK_AGAIN_S: Final = (2.0, 10.0, 60.0)
"""How long to wait, in s, after the first, the second and the third fetch of an event's entity."""

ABSENT_AGAIN_S: Final = 3600.0
"""How long to wait, in s, before the last read of a person whom DingTalk does not have, and of an edit that
no answer shows: otherwise only the next full sync would find the truth."""

HOURS_AGAIN_S: Final = (3600.0, 6 * 3600.0, 24 * 3600.0)
"""Delays, in s, of three more reads of a reported leaver whom DingTalk still shows, and of a reported hire
whom DingTalk does not show. Otherwise only the next full sync would find the truth."""

_SAID: Final[dict[str, Said]] = {
    "user_add_org": "present",
    "org_dept_create": "present",
    "user_leave_org": "absent",
    "org_dept_remove": "absent",
}


def said_by(event_type: str) -> Said:
    """What an event of ``event_type`` (DingTalk's name, as ``user_add_org``) reports of its entity."""
    return _SAID.get(event_type, "changed")


def look_again_s(looks: int) -> float | None:
    """How long to wait, in s, before the next fetch, after ``looks`` of them disagreed with the event; None:
    DingTalk is believed."""
    return LOOK_AGAIN_S[looks - 1] if 1 <= looks <= len(LOOK_AGAIN_S) else None
