"""A journal in memory, a failed list as DingTalk has it, and processes that die at a step."""

from prometheus_client import CollectorRegistry

from dingbridge.dingtalk.api.callbacks import FailedPage
from dingbridge.ingress.journal.rows import ResyncRequest
from dingbridge.ingress.metrics import RecoveryMetrics
from dingbridge.ingress.recovery.poller import Poller
from dingbridge.simulator.pushes.failed import FailedList

CORP = "dingcorp01"


class Died(BaseException):
    """The process is gone: nothing of it runs any more."""


class Disk:
    """What is in a journal: callbacks by their dedupe key, requests, notes."""

    def __init__(self):
        self.callbacks, self.requests, self.noted = {}, [], {}

    def bodies(self):
        return sorted(callback.body for callback in self.callbacks.values())


class Process:
    """One instance with its journal on ``disk``. ``on_reach`` is called with each place that it comes to."""

    def __init__(self, failed, disk=None, client=None):
        self.disk, self.failed = Disk() if disk is None else disk, failed
        self.fault = None
        self.on_reach, self.reached, self.dead, self.raises = lambda place: None, [], False, None
        self.metrics = RecoveryMetrics(CollectorRegistry())
        self.poller = Poller("default", client or self, self, self.metrics)

    def reach(self, place):
        if self.dead:
            raise Died
        self.reached.append(place)
        self.on_reach(place)

    def die(self):
        self.dead = True
        raise Died

    @property
    def missing(self):
        return self.metrics.pages_missing._value.get()

    # the journal

    async def commit(self, rows, notes=None):
        self.reach("before commit")
        disk, new = self.disk, []
        for row in rows:
            if isinstance(row, ResyncRequest):
                disk.requests.append(row)
                new.append(True)
                continue
            key = row.key or len(disk.callbacks)
            new.append(key not in disk.callbacks)
            disk.callbacks.setdefault(key, row)
        for key, value in (notes or {}).items():
            disk.noted.pop(key, None)
            if value is not None:
                disk.noted[key] = value
        self.reach("after commit")
        return new

    async def notes(self, prefix):
        return {key: value for key, value in self.disk.noted.items() if key.startswith(prefix)}

    # DingTalk's list

    id = "j1"

    async def failed_callbacks(self):
        self.reach("before call")
        items, more = self.failed.read()
        self.reach("after call")
        if self.raises is not None:
            raise self.raises
        return FailedPage([i if isinstance(i, dict) else {"item": i} for i in items], more)


def item(number, tag="user_modify_org"):
    return {
        tag: {"userid": [f"u{number}"], "corpid": CORP},
        "call_back_tag": tag,
        "event_time": 1_731_000_000_000 + number,
    }


def listed(count):
    failed = FailedList()
    for number in range(count):
        failed.add(item(number))
    return failed
