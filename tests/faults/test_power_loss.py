"""The power goes at a random write of many random lives, one after the other on what is left of the disk: all
that was answered is published in the end, in order, and from where the journal knows Kafka to be.

Real are the journal's writer, its start, retention, and the relay's loop; Kafka is another machine, which is
sometimes away and refuses some records. ``power.py`` is the disk.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
from aiokafka.errors import MessageSizeTooLargeError
from prometheus_client import CollectorRegistry

from dingbridge.apps.company import Companies
from dingbridge.errors import KafkaUnavailable
from dingbridge.events import decode, extract_facts
from dingbridge.ingress.errors import JournalError, JournalUnavailable
from dingbridge.ingress.journal.disk import make_durable
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import open_current, put_aside
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.sender import Sender
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.tasks import end
from tests.faults.power import PowerDisk, powered
from tests.support.sizes import new_seed, sized
from tests.unit.ingress.relay.fakes import CHECK_IN, FakeKafka, body, settings

STORIES, LIVES = sized(10, 500, quick=5), 6
NOW_MS = 1_764_000_000_000
NOTE = "power:last"
COMPANIES = partial(Companies, {"default": "c"})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nothing here waits for a real disk, or for a real Kafka."""
    for name, seconds in (("_RETENTION_EVERY_S", 0.01), ("_REOPEN_EVERY_S", 0.0)):
        monkeypatch.setattr(f"dingbridge.ingress.journal.writer.{name}", seconds)
    for name, value in (
        ("_SAVE_EVERY_S", 0.005),
        ("_SET_EVERY_S", 0.001),
        ("_IDLE_S", 0.01),
        ("_BACKOFF_S", (0.001, 0.01)),
    ):
        monkeypatch.setattr(f"dingbridge.ingress.relay.publisher.{name}", value)


@dataclass
class Story:
    """A journal's folder over several lives, and what others outside have seen of it."""

    kafka: FakeKafka
    dice: random.Random
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    answered: set[int] = field(default_factory=set)
    pushed: list[int] = field(default_factory=list)
    noted: bool = False

    def published(self) -> set[int]:
        return set(self.kafka.numbers())


def entry(number: int) -> NewCallback:
    content = body(number) + b" " * (number * 977 % 6000)
    facts = extract_facts(content)
    return NewCallback(NOW_MS + number, "default", "http", content, facts, b"key-%d" % number)


async def push(story: Story, journal: Journal, disk: PowerDisk) -> None:
    """One after the other, as DingTalk over one connection: some of them again, and some not as a push."""
    for _ in range(story.dice.randint(2, 12)):
        if disk.dead:
            return
        again = bool(story.pushed) and story.dice.random() < 0.3
        number = story.dice.choice(story.pushed) if again else next(story.numbers)
        story.pushed.append(number)
        try:
            match story.dice.randrange(12):
                case 0:
                    await journal._submit(JournalFile.truncate_wal)
                case 1:
                    await journal.commit([entry(number)], {NOTE: str(number)})
                    story.answered.add(number)
                    story.noted = True
                case _:
                    await journal.append(entry(number))
                    story.answered.add(number)
        except JournalUnavailable:
            await asyncio.sleep(0.001)


async def live(story: Story, root: Path, disk: PowerDisk) -> None:
    """An ingress and its relay, until the power goes or there is no more to do."""
    journal = Journal(root, Retention(0.0, 1e9), JournalMetrics(CollectorRegistry()))
    publishers: list[Publisher] = []
    relay = deleting = None
    try:
        await journal.start()
        deleting = asyncio.create_task(journal.prune_regularly())
        publishers.append(Publisher(settings(), COMPANIES, journal, RelayStatus(CollectorRegistry())))
        relay = asyncio.create_task(publishers[0].run())
        away = story.dice.random() < 0.3
        story.kafka.away = KafkaUnavailable("away") if away else None
        await asyncio.gather(*(push(story, journal, disk) for _ in range(4)))
        story.kafka.away = None
        await asyncio.sleep(story.dice.choice([0, 0.01, 0.03]))
    except (JournalError, apsw.Error, OSError):
        assert disk.dead, "it does not start on a sound disk"
    finally:
        for publisher in publishers:
            publisher.stop()
        if relay is not None:
            try:
                await relay
            except (JournalError, apsw.Error):
                assert disk.dead, "it ends on a sound disk"
        await end(deleting)
        if journal._thread.is_alive():
            await journal.stop()


def checked_start(story: Story, root: Path) -> int:
    """The product's own start on what is left of the disk. Returns up to where Kafka has answered."""
    with closing(open_current(root)) as file:
        rows = {row.seq: row for row in file.read(0, max_rows=100_000, max_bytes=1 << 30)}
        notes, highest = file.notes(NOTE), file.highest_seq()
        assert all(row.intact for row in rows.values())
        acked, parked = file.acked(), set(file.parked_seqs(0, 100_000))
    assert not put_aside(root), "it was taken for damaged"
    kept = {int(row.body.rpartition(b":")[2].strip(b" }")) for row in rows.values()}
    lost = story.answered - kept - story.published()
    assert not lost, f"answered, and neither kept nor published: {sorted(lost)}"
    assert set(range(acked + 1, highest + 1)) <= rows.keys(), "a number is missing behind what Kafka has"
    assert parked <= rows.keys()
    not_there = {seq for seq in rows if seq <= acked} - parked - {seq for _, seq in places(story)}
    assert not not_there, f"acknowledged, and neither published nor parked: {sorted(not_there)}"
    if NOTE in notes:
        assert int(notes[NOTE]) in kept | story.published(), "the note was kept without its callback"
    assert NOTE in notes or not story.noted, "the note is gone"
    return acked


def places(story: Story, behind: int = 0) -> dict[tuple[str, int], int]:
    """``{(journal, seq): number}`` of what Kafka has, from its record ``behind`` on."""
    found: dict[tuple[str, int], int] = {}
    for event in story.kafka.events(CHECK_IN)[behind:]:
        place = event.journal, int(event.sequence)
        assert found.setdefault(place, event.data["number"]) == event.data["number"], "given twice"
    return found


def refuses(topic: str, value: bytes) -> BaseException | None:
    return MessageSizeTooLargeError() if decode(value).data["number"] % 19 == 0 else None


async def tell(story: Story, folder: Path, figures: dict[str, int]) -> None:
    """Some lives, then one in which the power stays."""
    story.kafka.refuses = refuses
    root, acked = folder / "0", 0
    await asyncio.to_thread(root.mkdir, parents=True)
    for number in range(1, LIVES + 1):
        image, already = folder / str(number), len(story.kafka.taken.get(CHECK_IN, ()))
        with powered(root, image, story.dice) as disk:
            disk.dies_at = story.dice.choice([None, story.dice.randint(1, 40), story.dice.randint(1, 400)])
            await live(story, root, disk)
            figures["at a write"] += disk.dead
        for journal, seq in places(story, already):
            assert seq > acked or not journal, f"{seq} was published again, before {acked}"
        places(story)
        root = image
        acked = checked_start(story, root)
        figures["lives"] += 1
    story.kafka.refuses = lambda topic, value: None
    journal = Journal(root, Retention(0.0, 1e9), JournalMetrics(CollectorRegistry()))
    await journal.start()
    publisher = Publisher(settings(), COMPANIES, journal, RelayStatus(CollectorRegistry()), until_empty=True)
    publisher.retry()
    await publisher.run()
    await journal.stop()
    lost = story.answered - story.published()
    assert not lost, f"answered, and never published: {sorted(lost)}"
    assert story.published() <= set(story.pushed)
    figures["answered"] += len(story.answered)
    figures["duplicates"] += len(story.kafka.taken.get(CHECK_IN, ())) - len(story.published())


async def told(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, figures: dict[str, int]) -> None:
    with monkeypatch.context() as patch:
        kafka = FakeKafka()
        kafka.install(patch)
        await tell(Story(kafka, random.Random(seed)), folder, figures)


async def many(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, figures: dict[str, int], stories: int
) -> None:
    for number in range(stories):
        try:
            await told(folder / str(number), monkeypatch, seed + number, figures)
        except BaseException as error:
            error.add_note(f"the story of seed {seed + number}, number {number}")
            raise


async def test_the_power_goes_and_all_that_was_answered_is_published(tmp_path, monkeypatch, figure):
    seed, figures = new_seed(), Counter[str]()
    await many(tmp_path, monkeypatch, seed, figures, STORIES)
    figure(f"seed {seed}: {dict(figures)}; lost 0")
    assert figures["at a write"] > STORIES


def _less_synced(how: str) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        def less(db: apsw.Connection, *, create: bool) -> None:
            make_durable(db, create=create)
            db.execute(f"PRAGMA synchronous = {how}")

        patch.setattr("dingbridge.ingress.journal.file.make_durable", less)

    return plant


def _answers_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    commit, late = JournalFile.commit, dict[int, list[NewCallback]]()

    def early(file: JournalFile, callbacks: Any = (), *more: Any) -> list[bool]:
        waiting, late[id(file)] = late.get(id(file), []), list(callbacks)
        commit(file, waiting, *more)
        return [True] * len(callbacks)

    patch.setattr(JournalFile, "commit", early)


def _never_syncs_a_folder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("dingbridge.ingress.journal.folder.sync", lambda path: None)


def _moves_on_before_kafka_has_answered(patch: pytest.MonkeyPatch) -> None:
    async def errors(*_: object) -> dict[object, object]:
        return {}

    patch.setattr(Sender, "_errors", errors)


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(_less_synced("OFF"), id="synchronous-off"),
        pytest.param(_less_synced("NORMAL"), id="synchronous-normal"),
        _answers_before_the_commit,
        _never_syncs_a_folder,
        _moves_on_before_kafka_has_answered,
    ],
)
async def test_a_planted_fault_is_found(tmp_path, monkeypatch, figure, plant):
    plant(monkeypatch)
    with pytest.raises((AssertionError, JournalError)) as found:
        await many(tmp_path, monkeypatch, 1, Counter(), stories=100)
    figure(f"found by {found.value.__notes__[0]}: {str(found.value).splitlines()[0][:100]}")
