"""What a new consumer is called in each place, and whether it can be called so."""

import keyword
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dingbridge.errors import BridgeError
from dingbridge.events import URL_CHECKS, catalogue
from dingbridge.events.catalogue import nearest

NAME_RE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 30
"""Characters: tables and settings are named after the consumer, too."""


class ScaffoldError(BridgeError):
    """What was asked for cannot be written; nothing was."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Names:
    """``name`` is the consumer's, ``events`` its EventTypes."""

    name: str
    events: tuple[str, ...]

    @property
    def module(self) -> str:
        """As a Python name: ``leave-ledger`` is ``leave_ledger``."""
        return self.name.replace("-", "_")

    @property
    def class_name(self) -> str:
        """``leave-ledger`` is ``LeaveLedger``."""
        return "".join(part.capitalize() for part in self.name.split("-"))

    @property
    def setting(self) -> str:
        """The prefix of its settings: ``LEAVE_LEDGER``."""
        return self.module.upper()


def check(name: str, events: Sequence[str], taken: Collection[str]) -> Names:
    """Raises ``ScaffoldError`` for a name that cannot be one, or is in ``taken``; and for EventTypes that the
    catalogue does not have, with those that are spelled alike."""
    if len(name) > LONGEST_NAME or not NAME_RE.fullmatch(name) or keyword.iskeyword(name):
        raise ScaffoldError(
            f"{name!r} cannot be a consumer's name: at most {LONGEST_NAME} of a-z, 0-9 and single -, a "
            "letter first, and no word of Python's; as billing or leave-ledger"
        )
    if name in taken:
        raise ScaffoldError(
            f"there is a consumer {name!r} already, and two of one name would share their events; take "
            "another"
        )
    if not events:
        raise ScaffoldError("--events names no EventType; as --events bpms_instance_change,user_add_org")
    known = [event_type for event_type in catalogue if event_type not in URL_CHECKS]
    for event_type in events:
        if event_type not in known:
            raise ScaffoldError(_unknown(event_type, known))
    return Names(name, tuple(dict.fromkeys(events)))


def _unknown(event_type: str, known: Sequence[str]) -> str:
    near = nearest(event_type, known, 3)
    hint = f"near it are {', '.join(near)}" if near else "schemas/catalogue.json lists all"
    return (
        f"DingTalk's catalogue has no EventType {event_type!r}; {hint}. (A type that is newer than the "
        "catalogue is published as well: give it a handler by `@on` afterwards, and list it in "
        "`new_event_types`)"
    )
