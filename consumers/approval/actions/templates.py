"""The templates that the archive knows, with what it has of each and which action each has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import case, func, select

from dingbridge import Reader
from dingbridge.consumers.approval.actions.declaration import Action, name_of
from dingbridge.consumers.approval.archive.masking import SUBMITTED
from dingbridge.consumers.approval.tables import approval_actions, approval_instances


@dataclass(slots=True)
class Template:
    """A template. ``process_code`` is empty for approvals whose template is not known; ``states`` counts the
    rows of ``approval_actions``."""

    process_code: str
    name: str = ""
    approvals: int = 0
    running: int = 0
    approved: int = 0
    action: str | None = None
    undo: str | None = None
    states: dict[str, int] = field(default_factory=dict)

    def as_object(self) -> dict[str, Any]:
        return {
            "process_code": self.process_code or None,
            "name": self.name or None,
            "approvals": self.approvals,
            "running": self.running,
            "approved": self.approved,
            "action": self.action,
            "undo": self.undo,
            "actions": ", ".join(f"{count} {state}" for state, count in self.states.items()),
        }


def template_name(title: str | None) -> str | None:
    """The template's name in the title of one of its approvals; None when the title is of another kind."""
    _, submitted, name = (title or "").partition(SUBMITTED)
    return name.strip() or None if submitted else None


async def listed(
    db: Reader, actions: Mapping[str, Action], names: Mapping[str, str] | None = None
) -> list[Template]:
    """Templates with approvals in the archive, with an action, or in ``names`` (by process code), those with
    most approvals first."""
    columns = approval_instances.c
    running = func.sum(case((columns.outcome.is_(None), 1), else_=0))
    approved = func.sum(case((columns.outcome == "approved", 1), else_=0))
    counted = select(columns.process_code, func.count(), running, approved, func.max(columns.title)).group_by(
        columns.process_code
    )
    found: dict[str, Template] = {}
    for code, approvals, open_, agreed, title in map(tuple, await db.execute(counted)):
        key = str(code or "")
        known = found.setdefault(key, Template(key))
        known.approvals, known.running = known.approvals + approvals, known.running + int(open_)
        known.approved += int(agreed)
        known.name = known.name or (template_name(title) or "" if key else "")
    for code, name in (names or {}).items():
        found.setdefault(code, Template(code)).name = name
    for code, action in actions.items():
        template = found.setdefault(code, Template(code))
        template.action = name_of(action.run)
        template.undo = None if action.undo is None else name_of(action.undo)
    entries = approval_actions.c
    by_state = (
        select(entries.process_code, entries.state, func.count())
        .group_by(entries.process_code, entries.state)
        .order_by(entries.process_code, entries.state)
    )
    for code, state, count in map(tuple, await db.execute(by_state)):
        found.setdefault(code, Template(code)).states[state] = count
    return sorted(found.values(), key=lambda template: (-template.approvals, template.process_code))
