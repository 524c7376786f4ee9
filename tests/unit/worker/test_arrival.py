"""Tickets: ``prepare`` learns when its record came, and a fetch knows which records had come before it."""

from dingbridge import Consumer
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.fetch_sequence import arrived, ticket
from tests.unit.address_sync.company import event


class Curious(Consumer):
    name, topics = "curious", ["user_add_org"]

    def __init__(self):
        self.seen = []

    async def prepare(self, event, db):
        self.seen.append((arrived.get(), ticket()))

    async def handle(self, event, tx, prepared):
        return None


async def test_prepare_finds_the_ticket_of_its_own_record():
    consumer = Curious()
    early = ticket()
    async with MemoryRuntime(consumer) as runtime:
        await runtime.deliver(event("user_add_org", "u1"), arrived=early)
        await runtime.deliver(event("user_add_org", "u2"))
        await runtime.deliver(event("user_add_org", "u3"), arrived=early)
    (first, fetch_1), (second, fetch_2), (third, _) = consumer.seen
    assert first == third == early
    assert early < fetch_1 < second < fetch_2


def test_nobody_drew_a_ticket_outside_of_an_attempt():
    assert arrived.get() is None
