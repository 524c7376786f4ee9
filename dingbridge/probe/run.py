"""The reads: which ones, how many at most, and the reply to each. Nothing here judges."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import INSTANCES, SCHEMAS, TEMPLATES
from dingbridge.dingtalk.api.shapes import SHAPES
from dingbridge.dingtalk.budget import Budget, Priority
from dingbridge.dingtalk.errors import ApiError, CallbackMissing
from dingbridge.doctor.checks.platform import Call, Known, Probe, token_call
from dingbridge.errors import CallsSpent
from dingbridge.probe.recorder import Recorder, Reply


@dataclass(frozen=True, slots=True)
class Reading:
    """One call, made by ``parts``: the ``replies`` that came for it, repeats too, and how it ended: with an
    ``error`` of the API, or with a ``fault``, the name of an exception of our own code. ``of`` is the id that
    was asked for, ``missing`` says that none was known, so that nothing was asked."""

    api: str
    parts: tuple[str, ...]
    replies: tuple[Reply, ...] = ()
    error: ApiError | None = None
    of: Any = field(default=None, repr=False)
    missing: bool = False
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read. ``calls`` and ``counted``: how many calls at most, and how many of them the month's quota
    counts."""

    probes: tuple[Probe, ...]

    @property
    def calls(self) -> int:
        return sum(probe.call.most for probe in self.probes)

    @property
    def counted(self) -> int:
        return sum(probe.call.most for probe in self.probes if counts(probe.call.api))


def counts(api: str) -> bool:
    """Whether the month's quota counts this call; one that is in no table is taken to be counted."""
    return SHAPES[api].counts if api in SHAPES else True


def plan(client: DingTalkClient, wanted: Iterable[Probe], *, callback: bool) -> Plan:
    """The token, what parts declare of reads; for whoever lists templates a form as well, and with
    ``callback`` what is registered by API.

    Not the failed list: reading it deletes at DingTalk the page that was read before.
    """
    probes = [Probe(token_call(client), ()), *(probe for probe in wanted if not probe.call.writes)]
    if parts := next((probe.parts for probe in probes if probe.call.api == TEMPLATES), ()):
        probes.append(Probe(Call(SCHEMAS, client.form_schema, "processCode"), parts))
    if callback:
        probes.append(Probe(Call("get_call_back", lambda _: client.get_call_back()), ("ingress",)))
    return Plan(tuple(probes))


async def read(what: Plan, known: Known, recorder: Recorder) -> list[Reading]:
    """Make the calls, the ones after the others: each once, and those that take an id for more of them,
    unless the app has no right to them. Goes through all of them again as long as there are new ids, which
    may come from a call further down. Ends early with an error that would meet all calls."""
    readings: list[Reading] = []
    made, no_right, before = Counter[str](), set[str](), -1
    while len(readings) > before:
        before = len(readings)
        for probe in what.probes:
            call = probe.call
            ids = known.ids(call.takes) if call.takes else [None]
            if made[call.api] >= min(call.most, len(ids)) or call.api in no_right:
                continue
            reading = await _read(probe, ids[made[call.api]], recorder)
            made[call.api] += 1
            readings.append(reading)
            if (error := reading.error) is not None:
                if error.unavailable and error.about != "api":
                    return readings
                if error.about == "right":
                    no_right.add(call.api)
    missing = [probe for probe in what.probes if not made[probe.call.api]]
    return [*readings, *(Reading(probe.call.api, probe.parts, missing=True) for probe in missing)]


async def _read(probe: Probe, of: Any, recorder: Recorder) -> Reading:
    before, error, fault = len(recorder.replies), None, None
    try:
        await probe.call.call(of)
    except CallbackMissing:
        pass  # it is registered in the console, or in Stream mode
    except ApiError as failed:
        error = failed
    except Exception as broken:  # a reply that nobody has foreseen; its text may hold values of it
        fault = type(broken).__name__
    return Reading(probe.call.api, probe.parts, tuple(recorder.replies[before:]), error, of, fault=fault)


class AtMost:
    """A budget that keeps what was announced: no more than ``most`` counted calls, whatever ``budget`` has
    left. Repeats after a rate limit are among them."""

    def __init__(self, budget: Budget, most: int) -> None:
        self._budget = budget
        self.most, self.spent = most, 0

    async def spend(self, api: str, priority: Priority) -> None:
        """Raises ``CallsSpent``."""
        if self.spent >= self.most:
            raise CallsSpent(
                f"The {self.most} counted calls that were announced are made. Run it again for the rest.",
                retry_after_s=1.0,
            )
        self.spent += 1  # before it is awaited: entities are read at the same time
        try:
            await self._budget.spend(api, priority)
        except CallsSpent:
            self.spent -= 1
            raise

    async def turn(self, api: str) -> float:
        return await self._budget.turn(api)

    async def hold(self, api: str, wait_s: float) -> None:
        await self._budget.hold(api, wait_s)


def details(readings: Sequence[Reading]) -> list[tuple[str, Mapping[str, Any]]]:
    """``(processInstanceId, detail)`` of the approvals that were read."""
    found = []
    for reading in readings:
        for reply in reading.replies:
            if reply.api == INSTANCES and reply.succeeded and isinstance(reply.body.get("result"), dict):
                found.append((str(reading.of), reply.body["result"]))
    return found
