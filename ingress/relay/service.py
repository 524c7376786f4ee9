"""The relay's process: the lock of the journal's folder, the private listener, and the publisher between."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Any, Final

import apsw
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from dingbridge.errors import BridgeError
from dingbridge.health_server import AdminServer, json_response
from dingbridge.settings import IngressSettings
from dingbridge.tracing import open_tracer
from ingress.errors import JournalDamaged, JournalError, JournalLocked
from ingress.journal.damage import report_damage
from ingress.journal.directory import ProcessLock, current, relay_lock
from ingress.journal.wake import WakeFifo
from ingress.relay.publisher import Publisher
from ingress.relay.status import RelayStatus

log = structlog.get_logger(__name__)

_LOCK_WITHIN_S: Final = 30.0
_LOCK_EVERY_S: Final = 0.05
_STOP_WITHIN_S: Final = 0.8
"""What Kafka has not acknowledged by then is published again at the next start."""


async def serve(settings: IngressSettings, *, until_empty: bool = False, stop_at_eof: bool = False) -> None:
    """Publish the current journal until SIGTERM or SIGINT; ``stop_at_eof``: until standard input closes, and
    signals are for the parent; ``until_empty``: until nothing waits, without a private listener.

    Raises ``BridgeError`` in words: no journal there, held by another relay, damaged (the ingress is told),
    or with ``until_empty`` something parked that a retry may help."""
    folder = current(settings.journal_path)
    if not folder.journal.exists():
        raise JournalError(
            f"there is no journal in {folder.path}; start the ingress first, or set JOURNAL_DIR as it has it"
        )
    stop = asyncio.Event()
    await _stop_on(stop, eof=stop_at_eof)
    lock = relay_lock(folder.path)
    if not await _locked(lock, stop):
        return
    try:
        await _publish(settings, folder.path, stop, until_empty=until_empty)
    except JournalDamaged as error:
        report_damage(folder.path, str(error))
        raise
    except apsw.Error as error:
        raise JournalError(
            f"the journal in {folder.path} cannot be opened ({type(error).__name__}: {error}); free or "
            "repair the disk"
        ) from error
    finally:
        lock.release()


async def _stop_on(stop: asyncio.Event, *, eof: bool) -> None:
    """Set ``stop`` at the end of this process's use. As a child it hears only of its parent's: Ctrl-C, and
    what systemd sends to all processes of a service, reach the parent as well, which ends us last."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, (lambda: None) if eof else stop.set)
    if eof:
        await loop.connect_read_pipe(lambda: _EndOfInput(stop), sys.stdin)


class _EndOfInput(asyncio.Protocol):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop.set()


async def _locked(lock: ProcessLock, stop: asyncio.Event) -> bool:
    """Wait for a relay that is just ending; ``False`` if we are to stop before. Raises ``JournalLocked``."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _LOCK_WITHIN_S
    while not stop.is_set():
        try:
            lock.acquire()
            return True
        except JournalLocked:
            if loop.time() >= give_up_at:
                raise
        await asyncio.sleep(_LOCK_EVERY_S)
    return False


async def _publish(
    settings: IngressSettings, folder: Path, stop: asyncio.Event, *, until_empty: bool
) -> None:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    status = RelayStatus(registry)
    tracer = open_tracer(settings, "dingbridge-relay")
    publisher = Publisher(settings, folder, status, until_empty=until_empty, tracer=tracer)
    fifo = WakeFifo(folder, publisher.wake)
    admin = None if until_empty else _listener(settings, registry, status, publisher)
    try:
        if admin is not None:
            await admin.start()
            log.info("relay.ready", admin=f"http://{admin.host}:{admin.port}", journal=str(folder))
        await _until_stopped(publisher, stop)
        if publisher.left:
            raise BridgeError(
                f"{publisher.left} record(s) stay parked; see `dingbridge journal stats` for why, "
                "and call this again when that is mended"
            )
    finally:
        fifo.close()
        if admin is not None:
            await admin.stop()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)


async def _until_stopped(publisher: Publisher, stop: asyncio.Event) -> None:
    publishing, stopped = asyncio.create_task(publisher.run()), asyncio.create_task(stop.wait())
    await asyncio.wait((publishing, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    publisher.stop()
    _, late = await asyncio.wait((publishing,), timeout=_STOP_WITHIN_S)
    if late:
        publishing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await publishing


def _listener(
    settings: IngressSettings, registry: CollectorRegistry, status: RelayStatus, publisher: Publisher
) -> AdminServer:
    async def ready() -> tuple[bool, dict[str, Any]]:
        return status.state == "up", status.as_json()

    async def retry(request: web.Request) -> web.Response:
        publisher.retry_parked()
        return json_response({"status": "trying what is parked; see `dingbridge journal stats`"})

    async def forget_damaged(request: web.Request) -> web.Response:
        try:
            return json_response({"forgotten": await publisher.forget_damaged()})
        except (apsw.Error, BridgeError) as error:
            return json_response({"error": f"{type(error).__name__}: {error}"}, 503)

    return AdminServer(
        settings.admin_host,
        settings.relay_admin_port,
        registry,
        ready=ready,
        routes=[
            web.post("/parked/retry", retry),
            web.post("/parked/forget-damaged", forget_damaged),
        ],
    )
