"""Waiting for a wave's acknowledgements, and saying why they do not come: the producer sends again and again
without end, and does not tell."""

import asyncio
import time
from collections.abc import Callable, Mapping

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import hopeless_after_s
from dingbridge.kafka.health import ailing
from dingbridge.settings import IngressSettings
from ingress.relay.batches import Place
from ingress.relay.stats import Report

_STALLED_S = 5.0
_LOOK_UP_EVERY_S = 0.2
_AFTER_STOP_S = 2.0


async def acknowledged(
    settings: IngressSettings,
    report: Report,
    futures: Mapping[Place, "asyncio.Future[object]"],
    stopping: Callable[[], bool],
) -> bool:
    """Wait until every batch is acknowledged or has failed; ``False`` if ``stopping`` ended that before.

    Raises ``KafkaUnavailable`` when one does neither for too long.
    """
    waiting = set(futures.values())
    began, stopped_at = time.monotonic(), None
    hopeless_s = hopeless_after_s(settings)
    telling: asyncio.Task[None] | None = None
    try:
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=_LOOK_UP_EVERY_S)
            now = time.monotonic()
            if waiting and stopping():
                stopped_at = stopped_at or now
                if now - stopped_at > _AFTER_STOP_S:
                    return False
            elif waiting and now - began >= hopeless_s:
                words = report.words if report.state == "stalled" else _words(settings)
                raise KafkaUnavailable(f"{words}; connecting anew after {hopeless_s:g} s")
            elif waiting and telling is None and now - began >= _STALLED_S:
                places = [place for place, future in futures.items() if not future.done()]
                telling = asyncio.create_task(_tell(settings, report, places))
        return True
    finally:
        if telling is not None:
            telling.cancel()


async def _tell(settings: IngressSettings, report: Report, places: list[Place]) -> None:
    report.stalled(_words(settings, await ailing(settings, places)))


def _words(settings: IngressSettings, why: str | None = None) -> str:
    where = settings.kafka_bootstrap_servers
    if why is None:
        return f"Kafka at {where} has not acknowledged for {_STALLED_S:g} s; callbacks are kept meanwhile"
    return f"Kafka at {where}: {why}; callbacks are kept meanwhile"
