"""What a handler is given beside its event."""

from dingbridge import Consumer, Context, Event, Position, Transaction
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.context import next_fetch_sequence
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.executor import Executor
from tests.unit.address_sync.company import event


class Curious(Consumer):
    name, topics = "curious", ("user_add_org",)

    def __init__(self) -> None:
        self.seen: list[tuple[int | None, int]] = []
        self.given: list[tuple[Context, Context]] = []

    async def prepare(self, event: Event, ctx: Context) -> Context:
        self.seen.append((ctx.fetch_sequence, next_fetch_sequence()))
        return ctx

    async def handle(self, event: Event, tx: Transaction, prepared: Context) -> None:
        self.given.append((prepared, tx.ctx))


async def test_a_handler_learns_which_fetches_began_after_its_record_came() -> None:
    consumer = Curious()
    early = next_fetch_sequence()
    async with MemoryRuntime(consumer) as runtime:
        await runtime.deliver(event("user_add_org", "u1"), fetch_sequence=early)
        await runtime.deliver(event("user_add_org", "u2"))
        await runtime.deliver(event("user_add_org", "u3"), fetch_sequence=early)
    (first, fetch_1), (second, fetch_2), (third, _) = consumer.seen
    assert first == third == early
    assert second is not None
    assert early < fetch_1 < second < fetch_2


async def test_prepare_and_handle_have_one_context_with_attempt_position_and_the_apps_client() -> None:
    consumer = Curious()
    async with MemoryRuntime(consumer) as runtime:
        asked = []

        def client_of(app: str | None, corp_id: str | None) -> str:
            asked.append((app, corp_id))
            return f"client of {app}"

        consumer.clients = client_of  # type: ignore[assignment]
        came = event("user_add_org", "u1")
        delivery = Delivery(Position("t", 2, 7))
        outcome = await Executor(consumer, runtime.database).attempt(came, delivery, 3)
        assert outcome.kind == "done"
        ((prepared, in_tx),) = consumer.given
        assert prepared is in_tx
        assert (in_tx.attempt, in_tx.position) == (3, ("t", 2, 7))
        assert in_tx.dingtalk == f"client of {came.app}"
        assert asked == [(came.app, came.corp_id)]
