"""The relay's process: the lock of the journal's folder, the private listener, and the publisher."""

import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import apsw
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from dingbridge.admin_token import admin_token
from dingbridge.errors import BridgeError
from dingbridge.health_server import AdminServer, json_response
from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalLocked
from dingbridge.ingress.journal.directory import (
    ProcessLock,
    current,
    relay_lock,
    report_damage,
    reported_damage,
)
from dingbridge.ingress.journal.wake import WakeFifo
from dingbridge.ingress.metrics import process_registry
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.settings import IngressSettings
from dingbridge.tasks import WatchedTasks
from dingbridge.tracing import open_tracer

log = structlog.get_logger(__name__)

_LOCK_WITHIN_S: Final = 30.0
_LOCK_EVERY_S: Final = 0.05
_DAMAGE_EVERY_S: Final = 1.0
_STOP_WITHIN_S: Final = 0.8
"""What Kafka has not acknowledged by then is published again after the next start."""
_EXIT_WITHIN_S: Final = 1.0


async def serve(settings: IngressSettings, *, until_empty: bool = False, stop_at_eof: bool = False) -> None:
    """Publish the current journal until SIGTERM or SIGINT; ``stop_at_eof``: until standard input closes;
    ``until_empty``: until nothing waits, without a private listener.

    Raises ``BridgeError`` in words: there is no journal, another relay has it, it is damaged, or with
    ``until_empty`` something is parked that a retry may help."""
    folder = current(settings.journal_path)
    if not folder.journal.exists():
        raise JournalError(
            f"there is no journal in {folder.path}; start the ingress first, or set JOURNAL_DIR as it has it"
        )
    stop = asyncio.Event()
    _stop_on(stop, eof=stop_at_eof)
    lock = relay_lock(folder.path)
    try:
        if await _locked(lock, stop):
            await _publish(settings, folder.path, stop, until_empty=until_empty)
    except JournalDamaged as error:
        report_damage(folder.path, str(error))
        raise
    except apsw.Error as error:
        words = f"the journal in {folder.path} cannot be opened ({type(error).__name__}: {error})"
        raise JournalError(f"{words}; free or repair the disk") from error
    finally:
        lock.release()


def _stop_on(stop: asyncio.Event, *, eof: bool) -> None:
    """Set ``stop`` when this process is to end. With ``eof`` it is the ingress's child, ends with it, and
    ignores signals: Ctrl-C and systemd signal both, and the ingress needs its relay a while longer."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()
            # exit even if something hangs: what the checkpoint has not passed is published again
            loop.call_later(_EXIT_WITHIN_S, os._exit, 0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, (lambda: None) if eof else stop.set)
    if eof:
        loop.add_reader(sys.stdin.fileno(), read)


async def _locked(lock: ProcessLock, stop: asyncio.Event) -> bool:
    """Take ``lock``, and wait for a relay that is just ending; ``False`` if ``stop`` comes first. Raises
    ``JournalLocked``."""
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
    """As ``Publisher.run``, until ``stop``."""
    registry = process_registry()
    status = RelayStatus(registry)
    async with AsyncExitStack() as stack:
        if (tracer := open_tracer(settings, "dingbridge-relay")) is not None:
            stack.push_async_callback(asyncio.to_thread, tracer.close)
        publisher = Publisher(settings, folder, status, until_empty=until_empty, tracer=tracer)
        stack.callback(WakeFifo(folder, publisher.wake).close)
        if not until_empty:
            admin = _listener(settings, registry, status, publisher)
            await admin.start()
            stack.push_async_callback(admin.stop)
            log.info("relay.ready", admin=f"http://{admin.host}:{admin.port}", journal=str(folder))
        async with WatchedTasks() as tasks:
            tasks.need("that watches for damage", lambda: _until_damaged(folder))
            running = tasks.need("that publishes", publisher.run, may_end=True)
            running.add_done_callback(lambda _: stop.set())
            await stop.wait()
            publisher.stop()
            await asyncio.wait([running], timeout=_STOP_WITHIN_S)


async def _until_damaged(folder: Path) -> None:
    """Raises ``JournalDamaged`` when another process has reported damage."""
    while True:
        if (words := reported_damage(folder)) is not None:
            raise JournalDamaged(words)
        await asyncio.sleep(_DAMAGE_EVERY_S)


def _listener(
    settings: IngressSettings, registry: CollectorRegistry, status: RelayStatus, publisher: Publisher
) -> AdminServer:
    parked = publisher.parked

    async def ready() -> tuple[bool, dict[str, Any]]:
        counts = Counter[str]()
        for group in await parked.groups():
            counts[group.reason] += group.records
        return status.state == "up", {**status.as_json(), "parked": counts}

    async def retry(request: web.Request) -> web.Response:
        publisher.retry_parked()
        return json_response({"status": "trying what is parked; see `dingbridge journal stats`"}, 202)

    async def forget_damaged(request: web.Request) -> web.Response:
        try:
            return json_response({"forgotten": await parked.forget_damaged()})
        except (apsw.Error, BridgeError) as error:
            return json_response({"error": f"{type(error).__name__}: {error}"}, 503)

    return AdminServer(
        settings.admin_host,
        settings.relay_admin_port,
        registry,
        ready=ready,
        routes=[web.post("/parked/retry", retry), web.post("/parked/forget-damaged", forget_damaged)],
        token=admin_token(settings.data_dir),
        names=settings.admin_names,
    )
