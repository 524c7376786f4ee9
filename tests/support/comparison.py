"""What was answered ``success`` against what is in Kafka, and the order of each key.

The fault tests and the soak end with this comparison. It reads Kafka from the beginning, by its own reader.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise

from dingbridge.events import Event, decode
from dingbridge.settings import KafkaSettings
from tests.support.kafka_reader import read_all
from tests.support.pusher import Pusher


@dataclass(frozen=True, slots=True)
class Seen:
    """One record, and where it was found."""

    number: int
    topic: str
    partition: int
    offset: int
    key: bytes
    journal: str
    sequence: str
    source: str
    id: str


@dataclass(frozen=True)
class Comparison:
    """The pusher's log beside Kafka's content. ``str`` says it in one line."""

    pusher: Pusher
    seen: list[Seen]

    @property
    def numbers(self) -> set[int]:
        return {record.number for record in self.seen}

    @property
    def lost(self) -> set[int]:
        """Answered ``success``, and not in Kafka."""
        return self.pusher.succeeded - self.numbers

    @property
    def unasked(self) -> set[int]:
        """In Kafka, and never pushed."""
        return self.numbers - self.pusher.answers.keys()

    @property
    def unanswered(self) -> set[int]:
        """In Kafka although no answer arrived: kept, and the answer died on its way."""
        return self.numbers - self.pusher.succeeded

    @property
    def published_again(self) -> int:
        """Repeated records of one journal row: the checkpoint was not yet past an acknowledged one."""
        rows = {(r.number, r.journal, r.sequence, r.id) for r in self.seen}
        return len(self.seen) - len(rows)

    @property
    def kept_again(self) -> set[int]:
        """In two rows of one journal: the ingress should have recognised the second."""
        rows = Counter((r.number, r.id, r.journal) for r in {_row(r): r for r in self.seen}.values())
        return {number for (number, _, _), count in rows.items() if count > 1}

    @property
    def in_two_journals(self) -> set[int]:
        """Kept by two instances, or by one that had to begin a new journal."""
        journals: dict[int, set[str]] = defaultdict(set)
        for record in self.seen:
            journals[record.number].add(record.journal)
        return {number for number, found in journals.items() if len(found) > 1}

    def assert_holds(self, *, hurt: Collection[int] = (), put_aside: int = 0) -> None:
        """The promise: nothing lost, nothing answered falsely, nothing invented, dedupe held, and
        one (source, id) for one event wherever it was kept.

        But for ``hurt``, which a fault has made unreadable; and a push that comes again while a journal that
        was ``put_aside`` is imported may be kept before its key is known."""
        lost = self.lost.difference(hurt)
        assert not lost, f"{len(lost)} lost, as {sorted(lost)[:10]}"
        assert self.pusher.outcomes["false success"] == 0
        assert not self.unasked, f"never pushed: {sorted(self.unasked)[:10]}"
        if not put_aside:
            assert not self.kept_again, f"kept twice in one journal: {sorted(self.kept_again)[:10]}"
        names: dict[int, set[tuple[str, str]]] = defaultdict(set)
        for record in self.seen:
            names[record.number].add((record.source, record.id))
        assert all(len(found) == 1 for found in names.values())

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in self.pusher.outcomes.most_common())
        return (
            f"answers: {outcomes or 'none'}; in Kafka {len(self.numbers)}; lost {len(self.lost)}, "
            f"false success {self.pusher.outcomes['false success']}, kept but unanswered "
            f"{len(self.unanswered)}; duplicates {len(self.seen) - len(self.numbers)} "
            f"({self.published_again} published again behind an unsaved checkpoint, "
            f"{len(self.kept_again)} past the ingress's dedupe, {len(self.in_two_journals)} in two journals)"
        )


async def compare(
    settings: KafkaSettings, pusher: Pusher, number: Callable[[Event], int] | None = None
) -> Comparison:
    """Reads every topic of the test from its beginning. ``number`` finds the pusher's number in an event;
    the field ``number`` unless given."""
    number = number or (lambda event: int(event.data["number"]))
    seen = []
    for topic, records in (await read_all(settings)).items():
        for record in records:
            event = decode(record.value)
            seen.append(
                Seen(
                    number(event),
                    topic,
                    record.partition,
                    record.offset,
                    record.key or b"",
                    event.journal,
                    event.sequence,
                    event.source,
                    event.id,
                )
            )
    return Comparison(pusher, seen)


def assert_in_order(seen: Iterable[Seen], *, by_number: bool = False) -> int:
    """The first occurrences of each key's records stand in the order of their sequence, journal by journal;
    with ``by_number`` also in the order in which they were pushed, whatever the journal. Returns how many
    keys were looked at."""
    keys: dict[tuple[str, bytes], list[Seen]] = defaultdict(list)
    for record in sorted(seen, key=lambda r: (r.topic, r.partition, r.offset)):
        keys[record.topic, record.key].append(record)
    for (topic, key), records in keys.items():
        assert len({r.partition for r in records}) == 1, f"{key!r} is in several partitions of {topic}"
        for journal in {r.journal for r in records}:
            firsts = list(dict.fromkeys(r.sequence for r in records if r.journal == journal))
            assert firsts == sorted(firsts), f"{key!r} in {topic}: {_first_swap(firsts)}"
        if by_number:
            numbers = list(dict.fromkeys(r.number for r in records))
            assert numbers == sorted(numbers), f"{key!r} in {topic}: {_first_swap(numbers)}"
    return len(keys)


def _row(record: Seen) -> tuple[int, str, str, str]:
    return record.number, record.id, record.journal, record.sequence


def _first_swap(order: list[str] | list[int]) -> str:
    pairs = pairwise(order)
    return next(f"{a} stands before {b}" for a, b in pairs if str(a).zfill(20) > str(b).zfill(20))
