"""A process does not outlive a task that it needs."""

import asyncio

import pytest

from dingbridge.errors import BridgeError
from dingbridge.tasks import TaskEnded, WatchedTasks


async def forever():
    await asyncio.Event().wait()


async def run_until_it_ends(work, **options):
    """What a process does: it stays until it is asked to stop, which is never."""
    async with WatchedTasks() as tasks:
        tasks.need("other", forever)
        tasks.need("under test", work, **options)
        await forever()


async def returns():
    pass


async def fails():
    raise ZeroDivisionError("a name that no log may show")


async def cancels_itself():
    raise asyncio.CancelledError


async def awaits_what_is_cancelled():
    waiting = asyncio.get_running_loop().create_future()
    waiting.cancel()
    await waiting


@pytest.mark.parametrize("work", [returns, fails, cancels_itself, awaits_what_is_cancelled])
async def test_a_needed_task_that_ends_takes_the_process_with_it(work):
    with pytest.raises(TaskEnded, match="the task under test has ended") as raised:
        await run_until_it_ends(work)
    assert "a name that no log may show" not in str(raised.value)


async def test_an_error_in_words_stays_as_it_is():
    error = BridgeError("the disk is full; make room")

    async def refuses():
        raise error

    with pytest.raises(BridgeError) as raised:
        await run_until_it_ends(refuses)
    assert raised.value is error


@pytest.mark.parametrize("work", [fails, cancels_itself])
async def test_what_may_end_may_not_fail(work):
    with pytest.raises(TaskEnded):
        await run_until_it_ends(work, may_end=True)


async def test_what_may_end_ends_nothing():
    async with WatchedTasks() as tasks:
        await tasks.need("once", returns, may_end=True)
        await asyncio.sleep(0)


async def test_a_task_that_its_owner_cancels_ends_nothing():
    async with WatchedTasks() as tasks:
        task = tasks.need("of an app that is gone", forever)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        tasks.need("never begun", forever).cancel()
        await asyncio.sleep(0)


async def test_leaving_the_block_ends_all_tasks():
    async with WatchedTasks() as tasks:
        task = tasks.need("one", forever)
    assert task.cancelled()


async def test_what_the_block_raises_comes_first():
    error = BridgeError("the address is taken")

    async def fails_when_cancelled():
        try:
            await forever()
        finally:
            raise ZeroDivisionError

    async def process():
        async with WatchedTasks() as tasks:
            tasks.need("one", fails_when_cancelled)
            await asyncio.sleep(0)
            raise error

    with pytest.raises(BridgeError) as raised:
        await process()
    assert raised.value is error


async def test_being_cancelled_from_outside_is_no_error_of_a_task():
    entered = asyncio.Event()

    async def process():
        async with WatchedTasks() as tasks:
            tasks.need("one", forever)
            entered.set()
            await forever()

    running = asyncio.create_task(process())
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
