"""One worker of several: ``python -m ingress.worker_main``, started by ``ingress/workers.py``.

An ingress like any other, with the public port shared. It tells the port of its private listener as a JSON
line on standard output, and stops when its standard input closes, so it never outlives its supervisor.
"""

import asyncio
import os
import signal
import sys

import orjson
import uvloop

from dingbridge.logging import configure_logging
from dingbridge.settings import IngressSettings
from ingress.app import Ingress


async def main(settings: IngressSettings) -> None:
    """Serve until SIGTERM, or until the supervisor is gone."""
    loop = asyncio.get_running_loop()
    lifeline = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lifeline), sys.stdin)
    watching = loop.create_task(_watch(lifeline))
    try:
        await Ingress(settings, reuse_port=True).run(on_ready=_tell)
    finally:
        watching.cancel()


async def _watch(lifeline: asyncio.StreamReader) -> None:
    await lifeline.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _tell(admin_port: int) -> None:
    sys.stdout.buffer.write(orjson.dumps({"admin_port": admin_port}) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    loaded = IngressSettings.load()
    configure_logging(loaded)
    uvloop.run(main(loaded))
