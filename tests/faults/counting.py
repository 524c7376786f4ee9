"""A consumer that is installed beside ours and writes a row for each approval event: effects to count."""

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import select

from dingbridge import open_database
from tests.integration.worker_support import EffectConsumer
from tests.support.comparison import Seen
from tests.support.load import EVENT_TYPE
from tests.unit.worker.support import effects

NAME = "counting"
PLACE = "tests.faults.counting:Counting"


class Counting(EffectConsumer):
    name = NAME
    topics = (EVENT_TYPE,)
    handler_timeout_s = 10


async def applied(database_url: str) -> Counter[str]:
    """How often each event, by id, took effect; none before the table is there."""
    database = open_database(database_url)
    try:
        found = await database.reader().execute(select(effects.c.event_id))
        return Counter(row.event_id for row in found)
    except Exception as error:
        if "effects" in str(error):
            return Counter()
        raise
    finally:
        await database.close()


async def all_applied(database_url: str, seen: Iterable[Seen]) -> bool:
    return (await applied(database_url)).keys() >= {record.id for record in seen}
