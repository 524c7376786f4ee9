"""The ceiling: aiohttp reads the body and answers a constant. ``python -m dev.benchmarks.servers.bare
PORT``."""

import asyncio
import sys

import uvloop
from aiohttp import web

_BODY = b'{"msg_signature":"' + b"0" * 40 + b'","timeStamp":"1731000000000","nonce":"12345678","encrypt":"'
ANSWER = _BODY + b"A" * 88 + b'"}'


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


async def main(port: int) -> None:
    server = web.Server(handle, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
