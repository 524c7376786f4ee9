"""Somebody or something that the consumers' tables know, and that events can be found by."""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["person", "department", "approval", "request"]

MOST_HITS: Final = 20
"""Of each kind that is shown."""


@dataclass(frozen=True, slots=True)
class Hit:
    """``name`` is what people call it, of a request the OA's id; None where only ids may be shown.
    ``beside``: a person's departments, the department above, an approval's number, the kind of request.

    ``id`` is the one in its events, None of what DingTalk does not have yet. ``state``: ``left`` and
    ``deleted`` are ours, of approvals and requests it is as the table has it.
    """

    kind: Kind
    corp_id: str
    id: str | None
    name: str | None = None
    beside: str = ""
    state: str | None = None

    @property
    def is_private(self) -> bool:
        """Whether it shows what is masked for a viewer: who somebody is, or what an approval is called."""
        return self.kind == "person" or (self.kind == "approval" and self.name is not None)
