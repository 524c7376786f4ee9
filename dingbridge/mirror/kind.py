"""What an author declares of one kind of entity: how it is read by id, and how the tables become equal to the
answer. When that happens is the loop's business."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Select

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.mirror.entities import Entity
from dingbridge.worker.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Written:
    """``changed``: the tables differed from the answer. ``again_s``: read the entity again, in s, since this
    answer left something open; None: it did not. ``withheld``: the columns that stayed since the answer
    lacks them (``withheld.py``)."""

    changed: bool = False
    again_s: float | None = None
    withheld: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """DingTalk does not have the entity, and is believed: ``at`` is since when (UTC); ``reported``: that time
    is from an event."""

    at: datetime
    reported: bool


class Kind:
    """One kind of entity of a mirror."""

    limited: ClassVar[bool] = False
    """True: without an event of leaving, ``MAX_LEAVERS`` limits how many are marked as gone in a day."""

    async def read(self, client: DingTalkClient, entity_id: str) -> Any:
        """Ask DingTalk. Raises ``NotFound`` for what is not there, and any other ``ApiError``."""
        raise NotImplementedError

    async def here(self, tx: Transaction, corp_id: str, ids: Collection[str]) -> set[str]:
        """Return those of ``ids`` that the tables have, and not as gone."""
        raise NotImplementedError

    async def write(
        self, tx: Transaction, entity: Entity, app: str, answer: Any, gone: Gone | None, at: datetime
    ) -> Written:
        """Make the tables equal to ``answer``, or mark the entity as ``gone``; ``at`` is now (UTC)."""
        raise NotImplementedError

    async def differences(self, tx: Transaction, entity: Entity, answer: Any) -> Sequence[str]:
        """Name the fields that ``write`` would change, for a dry run; ``answer`` None: it is gone."""
        return ["gone"] if answer is None else ["row"]

    def known(self, corp_id: str, after: str, most: int) -> Select[Any] | None:
        """Select the ids, as text and in order, of up to ``most`` entities behind ``after`` that the tables
        have, and not as gone: a full sync reads each by id. None: there are none."""
        return None

    async def listed(
        self, tx: Transaction, corp_id: str, dept_id: int, items: Mapping[str, Any], at: datetime
    ) -> None:
        """Write those of ``items`` (by id, as a department's listing has them) early that the tables do not
        have. None of them was read by id yet; each will be."""
