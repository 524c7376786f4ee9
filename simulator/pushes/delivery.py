"""Which events are pushed, which of them twice, and in which order they set out.

Between what happens (``platform``) and its delivery (``push``). The draws are the same whatever is
registered: a life that is lived again is announced word for word.
"""

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Any, Final

from dingbridge.simulator.company.events import PlatformEvent, failed_item
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.limits import Limits
from dingbridge.simulator.pushes.failed import FailedList, FailedRecords
from dingbridge.simulator.pushes.push import Push, Pusher
from dingbridge.simulator.pushes.registration import Callbacks

HELD_S: Final = 0.5
"""How long a push that another should overtake waits for one, before ``retry_scale``."""
LISTED_AFTER_S: Final = 240.0
"""From the last retry until the event is in the failed list: 3 to 5 minutes
(obtain-the-event-list-of-failed-push-messages), before ``retry_scale``."""
_SHARES: Final = ("duplicates", "reorder")
_MOST: Final = {"duplicates": 1.0, "reorder": 1.0, "retry_scale": 1000.0, "deadline_ms": 60_000.0}


class Delivery:
    """``duplicates`` and ``reorder`` are the shares of events that are pushed twice, and of those that the
    next one overtakes. Give ``give_up`` to the pusher's ``on_failed``."""

    def __init__(
        self,
        pusher: Pusher,
        callbacks: Callbacks,
        limits: Limits,
        *,
        seed: int,
        duplicates: float,
        reorder: float = 0.0,
    ) -> None:
        self.duplicates, self.reorder = duplicates, reorder
        self.failed, self.records = FailedList(), FailedRecords()
        self._pusher = pusher
        self._callbacks = callbacks
        self._limits = limits
        self._noise = Random(seed)  # noqa: S311 - to be repeatable
        self._kept_back: list[Push] = []
        self._timers: dict[int, asyncio.TimerHandle] = {}

    @property
    def unlisted(self) -> int:
        """Events that were given up and are not in the failed list yet."""
        return len(self._timers)

    def send(self, events: Iterable[PlatformEvent], delay_s: float = 0.0) -> list[Push]:
        """Queue what of them somebody wants, in ``delay_s``. Returns the pushes, those that wait included."""
        pushes: list[Push] = []
        for event in events:
            # DingTalk pushes some events twice, word for word
            again, late = (self._noise.random() < share for share in (self.duplicates, self.reorder))
            if not self._callbacks.wants(event.event_type) or not self._limits.push(event.event_type):
                continue
            plaintext = event.plaintext()
            made = [self._pusher.make(event.event_type, plaintext, event) for _ in range(2 if again else 1)]
            pushes += made
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._set_out, made)
                continue
            if late:
                self._kept_back += made
                asyncio.get_running_loop().call_later(HELD_S * self._pusher.retry_scale, self.release)
                continue
            self._set_out(made)
            self.release()
        return pushes

    def _set_out(self, pushes: list[Push]) -> None:
        for push in pushes:
            self._pusher.enqueue(push)

    def release(self) -> None:
        """What waits to be overtaken sets out."""
        kept_back, self._kept_back = self._kept_back, []
        self._set_out(kept_back)

    def give_up(self, push: Push) -> None:
        """After the last retry: the event is listed as failed, some minutes later."""
        event = push.context
        if isinstance(event, PlatformEvent):
            delay = LISTED_AFTER_S * self._pusher.retry_scale
            loop = asyncio.get_running_loop()
            self._timers[push.id] = loop.call_later(delay, self._list, push, event)

    def _list(self, push: Push, event: PlatformEvent) -> None:
        del self._timers[push.id]
        self.failed.add(failed_item(event))
        self.records.add(event.event_type, push.plaintext, event.time_ms, event.corp_id)

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def as_json(self) -> dict[str, Any]:
        return {
            "duplicates": self.duplicates,
            "reorder": self.reorder,
            "retry_scale": self._pusher.retry_scale,
            "deadline_ms": round(self._pusher.deadline_s * 1000),
        }

    def set(self, **wanted: Any) -> None:
        """Any of ``as_json``'s values. Raises ``ActionError``, and nothing has changed."""
        for name, value in wanted.items():
            if name not in _MOST:
                raise ActionError(f"deliveries have no {name}; they have {', '.join(_MOST)}")
            good = isinstance(value, int | float) and not isinstance(value, bool)
            if not good or not 0 <= value <= _MOST[name]:
                raise ActionError(f'"{name}" must be a number, 0 to {_MOST[name]:g}')
        for name, value in wanted.items():
            if name in _SHARES:
                setattr(self, name, float(value))
            elif name == "retry_scale":
                self._pusher.retry_scale = float(value)
            else:
                self._pusher.deadline_s = value / 1000
