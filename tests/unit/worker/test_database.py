"""Closing a database ends, whatever has happened to its connections."""

import asyncio
import threading

import pytest
from sqlalchemy import text

from dingbridge.worker.store import database as module
from dingbridge.worker.store.database import open_database


@pytest.mark.parametrize("cut_off", [False, True])
async def test_closing_ends_though_a_connection_was_cut_off_a_moment_ago(monkeypatch, cut_off):
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.1)
    database = open_database("sqlite://")
    async with database._writer.connect() as connection:
        await connection.execute(text("SELECT 1"))
        raw = (await connection.get_raw_connection()).driver_connection
    gate = threading.Event()
    if cut_off:
        raw._tx.put_nowait((None, gate.wait))  # its thread is busy while both ask it to end
        raw.stop()
    async with asyncio.timeout(30):
        closing = asyncio.ensure_future(database.close())
        await asyncio.sleep(0)
        gate.set()
        await closing
