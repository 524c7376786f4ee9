"""What keeping costs at the least: aiohttp reads the body, SQLite commits it with one fsync, a constant goes
back. Nothing is verified, grouped or published. ``python -m dev.benchmarks.servers.synced PORT FILE``."""

import asyncio
import sys

import apsw
import uvloop
from aiohttp import web

from dev.benchmarks.servers.bare import ANSWER


async def main(port: int, path: str) -> None:
    db = apsw.Connection(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE callbacks (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        db.execute("INSERT INTO callbacks (body) VALUES (?)", (await request.read(),))
        return web.Response(body=ANSWER, content_type="application/json")

    server = web.Server(handle, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
