"""Approvals that were over before the simulation began, made by arithmetic when asked for.

They were started evenly over the last 360 days, of the templates in turn, by people of the company as
it began; number ``n`` is always the same. Nothing of them is kept, so 100,000 cost as much as none.
"""

import base64
import hashlib
from collections.abc import Callable
from random import Random
from typing import Final

from dingbridge.simulator.company.approvals import Approvals, instance_id
from dingbridge.simulator.company.company import Company
from dingbridge.simulator.company.documents import Approval
from dingbridge.simulator.company.templates import TEMPLATES

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_SPAN_MS: Final = 360 * _DAY_MS
_CODES: Final = tuple(TEMPLATES)
_TASKS_EACH: Final = 5_000
_FIRST_TASK: Final = 50_000_000_000


class PastApprovals:
    """The approvals 1 to ``count``, before ``began_ms`` (epoch ms). ``company`` makes one as it began; it is
    called when the first approval is asked for."""

    def __init__(
        self, company: Callable[[], Company], count: int, began_ms: int, seed: int, corp_id: str
    ) -> None:
        self._make_company, self._count, self._began_ms, self._seed = company, count, began_ms, seed
        self._corp_id = corp_id
        self._company: Company | None = None
        self._step_ms = _SPAN_MS // max(1, count)

    def __len__(self) -> int:
        return self._count

    def _created_ms(self, number: int) -> int:
        return self._began_ms - _DAY_MS - (self._count - number) * self._step_ms

    def id_of(self, number: int) -> str:
        """The id of the approval ``number``, which it begins with."""
        rest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()[:12]
        return instance_id(number.to_bytes(4, "big") + rest, self._corp_id, self._created_ms(number))

    def numbers(self, process_code: str, start_ms: int, end_ms: int) -> range:
        """Of those of a template that were started from ``start_ms`` to ``end_ms``, in their order."""
        if process_code not in _CODES or not self._count:
            return range(0)
        before = self._began_ms - _DAY_MS - self._count * self._step_ms
        first = max(1, -((before - start_ms) // self._step_ms))
        last = min(self._count, (end_ms - before) // self._step_ms)
        first += (_CODES.index(process_code) - first) % len(_CODES)
        return range(first, last + 1, len(_CODES))

    def get(self, instance_id: str) -> Approval | None:
        """One of them, by its id."""
        try:
            number = int.from_bytes(base64.urlsafe_b64decode(instance_id[:8])[:4], "big")
        except ValueError:
            return None
        if not 0 < number <= self._count or self.id_of(number) != instance_id:
            return None
        if self._company is None:
            self._company = self._make_company()
        rng = Random(self._seed << 40 | number)  # noqa: S311 - invented data, to be repeatable
        place = Approvals(
            self._company,
            self._corp_id,
            rng=rng,
            started=number - 1,
            last_task=_FIRST_TASK + number * _TASKS_EACH,
        )
        at_ms = self._created_ms(number)
        people = self._company.users
        originator = people.peek(rng.choice(people.ids))
        if originator is None:
            return None
        approval = place.start(at_ms, originator=originator, process_code=_CODES[number % len(_CODES)])
        while approval.status == "RUNNING":
            at_ms += rng.randrange(_HOUR_MS // 4, 6 * _HOUR_MS)
            place.decide(approval, at_ms, rng.random() < 0.9, "")
        approval.instance_id = instance_id
        return approval
