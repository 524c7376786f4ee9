"""The calls that write, and when their events and reads follow: events that come late or before the reply,
reads that lag, replies that wait for their events.

DingTalk documents none of these times. What is refused here, before anything is tried, has its reason in the
surroundings and not in the company's life: the app's scope, the clock.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Container, Mapping
from random import Random
from typing import Any, Final

from dingbridge.simulator.api.calls import Handler, Routes
from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.company.actions.base import Written
from dingbridge.simulator.company.actions.contact_writes import ContactWrites
from dingbridge.simulator.company.approvals import Approvals
from dingbridge.simulator.company.scope import VisibleScope
from dingbridge.simulator.company.sight import Sight
from dingbridge.simulator.errors import ActionError, NewerError, PlatformError

TERMINATE: Final = "/v1.0/workflow/processInstances/terminate"
LOG_KEPT: Final = 10_000
_PUT: Final = frozenset({"/v1.0/todo/users/{unionId}/tasks/{taskId}"})
_MOST_MS: Final = 600_000


class WriteCalls:
    """The calls. ``write(path, call, delay_s)`` does one, and announces it ``delay_s`` later. ``log``: the
    last ones that were done, each ``{"path", "id", "changed"}``."""

    def __init__(
        self,
        paths: Mapping[str, Callable[[Call], Written]],
        write: Callable[[str, Call, float], Written],
        *,
        contacts: ContactWrites,
        departments: Container[int],
        approvals: Approvals,
        scope: VisibleScope,
        sight: Sight,
        now_ms: Callable[[], int],
        seed: int,
    ) -> None:
        self._paths = paths
        self._write = write
        self._contacts = contacts
        self._departments = departments
        self._approvals = approvals
        self._scope = scope
        self._sight = sight
        self._now_ms = now_ms
        self._dice = Random(seed)  # noqa: S311 - to be repeatable
        self._delay_ms = (0, 0)
        self._terminate_after_ms = 15_000
        self.log: deque[dict[str, Any]] = deque(maxlen=LOG_KEPT)

    def routes(self) -> Routes:
        return [("PUT" if path in _PUT else "POST", path, self._handler(path)) for path in self._paths]

    def _handler(self, path: str) -> Handler:
        async def handler(call: Call) -> Answer:
            self._check(path, call)
            delay_s = self._dice.uniform(*self._delay_ms) / 1000
            written = self._write(path, call, max(0.0, delay_s))
            self.log.append({"path": path, "id": written.subject, "changed": written.changed})
            await asyncio.sleep(max(0.0, -delay_s))
            return written.answer

        return handler

    def _check(self, path: str, call: Call) -> None:
        if path == TERMINATE:
            approval = self._approvals.get(str(call.body.get("processInstanceId")))
            if approval is not None and self._now_ms() - approval.created_ms < self._terminate_after_ms:
                raise NewerError("aflowProcessInstStatusException", "提交审批后 15 秒内不允许撤销")
        if not path.startswith("/topapi/"):
            return
        if call.escaped:
            raise PlatformError(40033)
        self._scope.check_user(str(call.body.get("userid")))
        for name in ("dept_id", "parent_id", "dept_id_list"):
            for dept_id in str(call.body.get(name, "")).split(","):
                # of one that there is not, its own refusal says so
                if dept_id.isdecimal() and int(dept_id) in self._departments:
                    self._scope.check_department(int(dept_id))

    def as_json(self) -> dict[str, Any]:
        return {
            "event_delay_ms": list(self._delay_ms),
            "read_lag_ms": round(self._sight.lag_s * 1000),
            "opt_staff_id": self._contacts.opt_staff_id,
            "terminate_after_ms": self._terminate_after_ms,
            "log": list(self.log),
        }

    def set(self, **wanted: Any) -> None:
        """Any of ``as_json``'s but ``log``. Raises ``ActionError``, and nothing has changed."""
        delay = wanted.pop("event_delay_ms", list(self._delay_ms))
        delay = delay if isinstance(delay, list) else [delay, delay]
        if len(delay) != 2 or not all(_is_ms(ms, -_MOST_MS) for ms in delay) or delay[0] > delay[1]:
            raise ActionError('"event_delay_ms" must be a number of ms, or two of which one is drawn')
        operator = wanted.pop("opt_staff_id", self._contacts.opt_staff_id)
        lag_ms = wanted.pop("read_lag_ms", self._sight.lag_s * 1000)
        after_ms = wanted.pop("terminate_after_ms", self._terminate_after_ms)
        if wanted:
            raise ActionError(f"writes have no {next(iter(wanted))}; GET /_sim/writes shows what they have")
        if not _is_ms(lag_ms, 0) or not _is_ms(after_ms, 0) or not isinstance(operator, str):
            raise ActionError('"read_lag_ms" and "terminate_after_ms" must be ms, "opt_staff_id" a text')
        self._delay_ms, self._terminate_after_ms = (delay[0], delay[1]), after_ms
        self._sight.lag_s, self._contacts.opt_staff_id = lag_ms / 1000, operator


def _is_ms(value: Any, least: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= _MOST_MS
