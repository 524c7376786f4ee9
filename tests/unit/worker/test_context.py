"""What a handler is given beside its event."""

from dingbridge import Consumer, Context, Event, Position, Transaction
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.executor import Executor
from tests.unit.address_sync.company import event


class Curious(Consumer):
    name, topics = "curious", ("user_add_org",)

    def __init__(self) -> None:
        self.given: list[tuple[Context, Context]] = []

    async def prepare(self, event: Event, ctx: Context) -> Context:
        return ctx

    async def handle(self, event: Event, tx: Transaction, prepared: Context) -> None:
        self.given.append((prepared, tx.ctx))


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
        assert (in_tx.attempt, in_tx.position, in_tx.together) == (3, ("t", 2, 7), (came,))
        assert in_tx.dingtalk == f"client of {came.app}"
        assert asked == [(came.app, came.corp_id)]
