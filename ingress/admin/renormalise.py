"""Publishes unclassified callbacks again that a newer release can normalise, or that name the app's company
since DINGTALK_CORP_ID or corp_id was mended.

It reads the unclassified topic and keeps each record's callback again, whatever was kept before, with its
first time of receipt, so that its id stays the same. Records that would be unclassified again are left out.
The callbacks are gathered in a folder of their own, which is then imported like one of an instance that is
gone: by the running ingress, or here. An interrupted run begins again: the topic still holds all of it.
"""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from aiokafka import ConsumerRecord

from dingbridge.events import Event, NotAnEvent, Received, decode, to_dingtalk, to_records
from dingbridge.events.strict_json import dumps
from dingbridge.ingress.admin.client import bring_in
from dingbridge.ingress.journal.directory import (
    JournalFolder,
    ProcessLock,
    delete_folder,
    exclusive_locks,
    prepare_folder,
)
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.relay.messages import TopicRouter
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import unclassified_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import companies

_FOLDER = "renormalise"


def renormalise(settings: IngressSettings) -> dict[str, Any]:
    """Go through the unclassified topic once, from its beginning to its present end, and keep what can be
    normalised. Returns the counts of ``fill`` and of the import.

    Run twice, it is published twice: consumers drop the second by (source, id). Raises ``KafkaUnavailable``,
    and ``JournalLocked`` while another run is under way.
    """
    root = settings.journal_path
    prepare_folder(root, allow_unsafe=True)
    words = f"process {{holder}} renormalises in {root} just now; wait for its end"
    with exclusive_locks(ProcessLock(root / f"{_FOLDER}.lock", words)):
        folder = JournalFolder(root / _FOLDER)
        if folder.path.exists():  # of a run that was cut off
            delete_folder(folder.path)
        folder.path.mkdir(mode=0o700)
        try:
            with closing(JournalFile(folder.journal, create=True)) as file:
                result = asyncio.run(fill(settings, file))
            return result | (bring_in(folder.path) if result["put_back"] else {})
        finally:
            delete_folder(folder.path)


async def fill(settings: IngressSettings, file: JournalFile) -> dict[str, int]:
    """Keep in ``file`` what the topic holds and this release can normalise. Returns how many records were
    ``read``, how many callbacks ``put_back``, and how many are ``left``. Raises ``KafkaUnavailable``."""
    result = {"read": 0, "put_back": 0, "left": 0}
    router, of_app = TopicRouter(settings, settings.unknown_topics_max), companies(settings).of_app
    topic = unclassified_topic(settings)
    await router.load()
    counts = await existing_topics(settings, [topic])
    async with TopicReader(settings) as reader:
        async for record in reader.read(await reader.spans({topic: counts.get(topic, 0)})):
            result["read"] += 1
            callback = _again(record, topic, router, of_app)
            if callback is not None:
                file.keep([callback])
            result["left" if callback is None else "put_back"] += 1
    return result


def _again(
    record: ConsumerRecord, topic: str, router: TopicRouter, of_app: Mapping[str, str | None]
) -> NewCallback | None:
    """The callback of ``record``; ``None`` if it would be unclassified again, or is not ours."""
    try:
        event = decode(record.value or b"")
    except NotAnEvent:  # somebody else writes to this topic
        return None
    one = _callback(event)
    own = of_app.get(one.app)
    again = to_records(Received(0, event.journal, one.received_ms, one.app, one.via, one.body, corp_id=own))
    return one if any(router.topic(each) != topic for each in again) else None


def _callback(event: Event) -> NewCallback:
    body = event.data_bytes if event.data_bytes is not None else dumps(to_dingtalk(event))
    received_ms = round(event.received_time.timestamp() * 1000)
    return NewCallback(received_ms, event.app, event.via, body, b"", keep_again=True)
