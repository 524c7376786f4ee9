"""Puts what could not be normalised back through a journal, after a release that knows better.

It reads the unclassified topic and keeps each record's callback again, past the door's dedupe, with its first
time of receipt, so that its id stays what it was. Records that would only come back are left alone. The
callbacks are gathered in a folder of their own, which is then imported like one of an instance that is gone:
by the running ingress, or here. What is cut off is begun again: the topic still holds all of it.
"""

import asyncio
import shutil
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from dingbridge.errors import KafkaUnavailable
from dingbridge.events import Event, NotAnEvent, Received, decode, to_dingtalk, to_records
from dingbridge.events.strict_json import dumps
from dingbridge.kafka.client import connection, discard_consumer, explain, hopeless_after_s
from dingbridge.kafka.health import ailing
from dingbridge.kafka.topics import existing_topics, unclassified_topic
from dingbridge.settings import IngressSettings
from ingress.admin.offline import bring_in
from ingress.journal.directory import JournalFolder, ProcessLock, exclusive_locks, prepare_folder
from ingress.journal.rows import NewCallback
from ingress.journal.store import JournalFile
from ingress.relay.topics import TopicRouter

_FOLDER = "renormalise"


@dataclass(slots=True)
class Renormalised:
    """How many records the topic held, how many callbacks were put back, how many still cannot be
    normalised."""

    read: int = 0
    put_back: int = 0
    left: int = 0


def renormalise(settings: IngressSettings) -> dict[str, Any]:
    """Go through the unclassified topic once, from its beginning to its end as it stands now, and keep what
    can be normalised. Returns what ``Renormalised`` has, and what the import says.

    Run twice, it is published twice: consumers drop the second by (source, id). Raises ``KafkaUnavailable``,
    and ``JournalLocked`` while another run is under way.
    """
    root = settings.journal_path
    prepare_folder(root, allow_unsafe=True)
    words = f"process {{holder}} renormalises in {root} just now; wait for its end"
    with exclusive_locks(ProcessLock(root / f"{_FOLDER}.lock", words)):
        folder = JournalFolder(root / _FOLDER)
        shutil.rmtree(folder.path, ignore_errors=True)  # of a run that was cut off
        folder.path.mkdir(mode=0o700)
        try:
            with closing(JournalFile(folder.journal, create=True)) as file:
                result = asdict(asyncio.run(fill(settings, file)))
            if result["put_back"]:
                result |= bring_in(folder.path)
        finally:
            shutil.rmtree(folder.path)
    return result


async def fill(settings: IngressSettings, file: JournalFile) -> Renormalised:
    """Keep in ``file`` what the topic holds and this release can normalise. Raises ``KafkaUnavailable``."""
    result = Renormalised()
    router = TopicRouter(settings, settings.unknown_topics_max)
    topic = unclassified_topic(settings)
    try:
        await router.load()
        partitions = (await existing_topics(settings)).get(topic, 0)
        consumer = AIOKafkaConsumer(
            **connection(settings), auto_offset_reset="earliest", enable_auto_commit=False
        )
        try:
            await consumer.start()
            if not partitions and topic in await consumer.topics():
                raise KafkaUnavailable(
                    f"topic {topic} is there, and a partition of it has no leader; start the brokers that "
                    "hold it, and call this again"
                )
            parts = [TopicPartition(topic, number) for number in range(partitions)]
            consumer.assign(parts)
            ends = await consumer.end_offsets(parts)
            begins = await consumer.beginning_offsets(parts)
            for part in parts:
                consumer.seek(part, begins[part])
            left = {part: begins[part] for part in parts if begins[part] < ends[part]}
            moved_at = time.monotonic()
            while left:
                for part, records in (await consumer.getmany(*left, timeout_ms=500)).items():
                    wanted = [record for record in records if record.offset < ends[part]]
                    _put_back(wanted, topic, router, file, result)
                before, left = left, {part: await consumer.position(part) for part in left}
                if left != before:
                    moved_at = time.monotonic()
                elif time.monotonic() - moved_at > hopeless_after_s(settings):
                    # a partition that has lost its leader gives nothing for ever, and no error
                    places = [(topic, part.partition) for part in left]
                    why = await ailing(settings, places) or f"no answer for partitions {places}"
                    raise KafkaUnavailable(f"{why}; nothing was put back; call this again")
                left = {part: position for part, position in left.items() if position < ends[part]}
        finally:
            await discard_consumer(consumer)
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(explain(error, settings)) from error
    return result


def _put_back(
    records: list[ConsumerRecord], topic: str, router: TopicRouter, file: JournalFile, result: Renormalised
) -> None:
    callbacks = []
    for record in records:
        try:
            event = decode(record.value or b"")
        except NotAnEvent:  # not ours: somebody else writes to this topic
            continue
        callback = _callback(event)
        again = to_records(
            Received(0, event.journal, callback.received_ms, callback.app, callback.via, callback.body)
        )
        if any(router.topic(one) != topic for one in again):
            callbacks.append(callback)
    file.keep(callbacks)
    result.read += len(records)
    result.put_back += len(callbacks)
    result.left += len(records) - len(callbacks)


def _callback(event: Event) -> NewCallback:
    body = event.data_bytes if event.data_bytes is not None else dumps(to_dingtalk(event))
    return NewCallback(
        received_ms=round(event.received_time.timestamp() * 1000),
        app=event.app,
        via=event.via,
        body=body,
        key=b"",
        unconditional=True,
    )
