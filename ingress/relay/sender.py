"""Sends records to Kafka: batches, acknowledgements, and what a refusal is about.

Kafka takes a batch as a whole or not at all. The next batch of a partition is sent only after Kafka has
answered for the one before. So no failure lets newer records of a partition overtake older ones. With several
batches under way, a batch that expires in the client is overtaken by its successor. The same happens to the
first batch of a producer when Kafka refuses it (seen with aiokafka 0.14).

Refusals are read by Kafka's list of error codes (kafka.apache.org/protocol, "Error Codes") and by what
brokers answer for a partition of a produce request. A retriable error never gets here: an idempotent producer
sends again without end, and without a word. So when nothing is acknowledged for a while, the reason is looked
for here, too.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import BrokerResponseError, kafka_errors

from dingbridge.errors import KafkaUnavailable, TopicError, TopicForbidden, TopicLeaderless
from dingbridge.ingress.journal.rows import DAMAGED
from dingbridge.ingress.relay.size_limits import SizeLimits
from dingbridge.ingress.relay.status import CallbackRecord, RelayStatus
from dingbridge.kafka.client import (
    PRODUCER_MAX_REQUEST_BYTES,
    discard_producer,
    producer,
    start_producer,
)
from dingbridge.settings import IngressSettings

Place = tuple[str, int]
"""Topic and partition."""
UP: Final = "Kafka takes records"

BATCH_BYTES: Final = 1024 * 1024
"""A batch is closed at about this size; a larger record goes alone."""
LARGEST_RECORD_BYTES: Final = PRODUCER_MAX_REQUEST_BYTES - 4096

_SILENT_S: Final = 0.5
"""After so long without an answer Kafka's metadata is asked which partitions have no leader."""
ANSWER_WITHIN_S: Final = 10.0
"""A partition that has not answered by then, while a broker returns metadata, takes nothing: its topic is
blocked, and tried again. So no partition holds up others, and nothing has to be known of the others."""
_METADATA_WITHIN_S: Final = 3.0


class Refusal(StrEnum):
    """Why Kafka refuses a record though it is up: the reason for which its callback is parked."""

    TOO_LARGE = "too_large"
    POLICY = "policy"
    INVALID_RECORD = "invalid_record"
    RIGHTS = "rights"
    INVALID_TOPIC = "invalid_topic"
    TOPIC_MISSING = "topic_missing"
    NO_LEADER = "no_leader"
    FORMAT = "format"
    TIMESTAMP = "timestamp"
    """The time of sending, which is every record's: so the topic takes none now."""
    UNEXPLAINED = "unexplained"
    """A fault in the broker, a code that is not listed here, bytes that have changed on the way."""


_OF_A_RECORD = frozenset({Refusal.TOO_LARGE, Refusal.POLICY, Refusal.INVALID_RECORD})
BLOCKING = frozenset(Refusal) - _OF_A_RECORD
"""The reasons about a topic as a whole: while one lasts, all later records are parked, too."""
NOT_BY_HAND = frozenset({*BLOCKING, DAMAGED})
"""When an operator asks, a callback is tried that is parked for any other reason, also for one that only
another release knows. It is tried at no other time."""


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """A check of the broker does not let the record pass; that of a schema, say."""

    errno = 87
    message = "INVALID_RECORD"


# aiokafka 0.14 does not know the code, and would raise the same error as for one that blocks the topic
kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

_REFUSALS = {
    -1: Refusal.UNEXPLAINED,  # UNKNOWN_SERVER_ERROR, also for codes that aiokafka does not know
    2: Refusal.UNEXPLAINED,  # CORRUPT_MESSAGE
    10: Refusal.TOO_LARGE,  # MESSAGE_TOO_LARGE
    17: Refusal.INVALID_TOPIC,  # INVALID_TOPIC_EXCEPTION
    18: Refusal.TOO_LARGE,  # RECORD_LIST_TOO_LARGE
    29: Refusal.RIGHTS,  # TOPIC_AUTHORIZATION_FAILED
    32: Refusal.TIMESTAMP,  # INVALID_TIMESTAMP
    43: Refusal.FORMAT,  # UNSUPPORTED_FOR_MESSAGE_FORMAT
    44: Refusal.POLICY,  # POLICY_VIOLATION
    87: Refusal.INVALID_RECORD,
}


def refusal(error: BaseException) -> Refusal | None:
    """Why Kafka refuses this record or its topic; ``None`` for an error that is about neither."""
    match error:
        case BrokerResponseError():
            return _REFUSALS.get(error.errno)
        case TopicForbidden():
            return Refusal.RIGHTS
        case TopicLeaderless():
            return Refusal.NO_LEADER
        case TopicError():
            return Refusal.TOPIC_MISSING
    return None


Refused = dict[tuple[int, str], Refusal]
"""Why, by ``seq`` and topic. A reason about the topic is kept before one about a record."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch that was sent, by which producer, and its size as Kafka counts it, bytes."""

    records: list[CallbackRecord]
    size: int
    idempotent: bool
    answer: "asyncio.Future[object]"


class Sender:
    """Sends with an idempotent producer, which is replaced once a send has failed.

    An idempotent producer cannot go on with a partition after a refusal. So a topic that has refused a record
    for itself is served by a second producer without idempotence, which can. A lost answer may then repeat a
    run of records, as a restart may."""

    def __init__(self, settings: IngressSettings, status: RelayStatus) -> None:
        self._settings, self._status = settings, status
        self._producers: dict[bool, AIOKafkaProducer] = {}
        """At most two: whether it is idempotent, and the producer."""
        self._starting = asyncio.Lock()
        self._refusing: set[str] = set()
        """The topics that have refused a record for itself."""
        self._sizes = SizeLimits()

    async def connected(self, *, idempotent: bool = True) -> AIOKafkaProducer:
        """The producer, a new one if there is none. Raises ``KafkaUnavailable``."""
        async with self._starting:
            if idempotent not in self._producers:
                self._producers[idempotent] = await self._started(idempotent)
            return self._producers[idempotent]

    async def _started(self, idempotent: bool) -> AIOKafkaProducer:
        # without idempotence aiokafka gives up a partition that does not answer; ``_errors`` decides that
        within_s = max(self._settings.kafka_request_timeout_s, 0 if idempotent else 2 * ANSWER_WITHIN_S)
        fresh = producer(
            self._settings,
            max_batch_size=PRODUCER_MAX_REQUEST_BYTES,
            enable_idempotence=idempotent,
            request_timeout_ms=int(within_s * 1000),
        )
        await start_producer(fresh, self._settings)
        return fresh

    def retry(self) -> None:
        """Begin anew with what topics refuse: an operator may have raised a limit, or changed a policy."""
        self._refusing.clear()
        self._sizes.forget()

    async def discard(self, within_s: float = 1.0) -> None:
        """Close the producers; for ``within_s`` they may still send what they hold."""
        discarded, self._producers = self._producers, {}
        await asyncio.gather(*(discard_producer(one, within_s) for one in discarded.values()))

    async def ensure_answers(self, within_s: float) -> None:
        """Raises ``KafkaUnavailable`` unless one of the brokers answers the producer's client."""
        client = (await self.connected()).client
        try:
            async with asyncio.timeout(within_s):
                answered = await client.force_metadata_update()
        except TimeoutError:
            answered = False
        if not answered:
            where = self._settings.kafka_bootstrap_servers
            raise KafkaUnavailable(f"Kafka at {where} does not answer; callbacks are kept meanwhile")

    async def send(
        self, records: Mapping[Place, Sequence[CallbackRecord]], within_s: float | None = None
    ) -> Refused:
        """Send the records of each partition in order, and wait until each is acknowledged or refused.
        Returns what is refused; of a partition that does not answer ``within_s``, all. With ``within_s``
        it is known already that one may not, and the status stays as it is.

        Raises ``KafkaError`` or ``KafkaUnavailable`` for an error that is not about a record or a topic; then
        some may be in Kafka."""
        refused: Refused = {}
        waiting = {partition: deque(of) for partition, of in records.items()}
        most: dict[Place, int] = {}
        """How many records the next batch may have, where one was refused for a record."""
        while waiting:
            sent = await self._send_batches(waiting, most, refused)
            errors = await self._errors({place: batch.answer for place, batch in sent.items()}, within_s)
            for error in errors.values():
                if refusal(error) is None:
                    raise error
                self._status.error(error)
            for place in sent.keys() - errors.keys():
                self._acknowledged(place, sent[place], most)
            reasons = {place: refusal(error) or Refusal.UNEXPLAINED for place, error in errors.items()}
            for place, reason in reasons.items():
                self._refused(place, sent[place], reason, waiting[place], most, refused)
            for idempotent in {sent[p].idempotent for p in reasons if _ends_producer(reasons[p], sent[p])}:
                # what it still holds has been given up here
                await discard_producer(self._producers.pop(idempotent), 0.1)
            waiting = {place: of for place, of in waiting.items() if of}
        return refused

    def _acknowledged(self, place: Place, batch: _Batch, most: dict[Place, int]) -> None:
        self._status.published(batch.records)
        self._status.turn("up", UP)
        self._sizes.taken(place[0], batch.size)
        if place in most:
            most[place] = 2 * len(batch.records)

    def _refused(
        self,
        place: Place,
        batch: _Batch,
        reason: Refusal,
        later: deque[CallbackRecord],
        most: dict[Place, int],
        refused: Refused,
    ) -> None:
        """Add to ``refused`` what ``reason`` is about: the topic, and so the ``later`` records, too, or the
        one record. Where it is about one of several, they are put back, to be sent in smaller batches."""
        topic, records = place[0], batch.records
        if reason in BLOCKING:
            _refuse(refused, topic, [*records, *later], reason)
            later.clear()
            return
        self._refusing.add(topic)
        if reason is Refusal.TOO_LARGE:
            self._sizes.refused(topic, batch.size)
        if len(records) == 1:
            _refuse(refused, topic, records, reason)
        else:
            later.extendleft(reversed(records))
            most[place] = len(records) // 2

    async def _send_batches(
        self, waiting: Mapping[Place, deque[CallbackRecord]], most: Mapping[Place, int], refused: Refused
    ) -> dict[Place, _Batch]:
        """Send the first batch of each partition, and take its records out of ``waiting``. A record of a size
        that its topic does not take goes to ``refused``."""
        sent = {}
        for place, records in waiting.items():
            topic, partition = place
            idempotent = topic not in self._refusing
            connected = await self.connected(idempotent=idempotent)
            largest = min(BATCH_BYTES, self._sizes.of_several(topic))
            while records:
                builder = connected.create_batch()
                batch = _fill(builder, records, largest, most.get(place))
                if len(batch) == 1 and not self._sizes.allows(topic, builder.size()):
                    _refuse(refused, topic, batch, Refusal.TOO_LARGE)
                    continue
                # Invariant 3: one batch a partition, in the journal's order
                answer = await connected.send_batch(builder, topic, partition=partition)
                sent[place] = _Batch(batch, builder.size(), idempotent, answer)
                break
        return sent

    async def _leaderless(self, partitions: Iterable[Place]) -> list[Place]:
        """Those of ``partitions`` that have no leader by Kafka's metadata; none if nobody answers in time."""
        client = (await self.connected()).client
        with suppress(TimeoutError):
            async with asyncio.timeout(_METADATA_WITHIN_S):
                await client.force_metadata_update()
        return [one for one in partitions if client.cluster.leader_for_partition(TopicPartition(*one)) == -1]

    async def _errors(
        self, futures: "Mapping[Place, asyncio.Future[object]]", within_s: float | None
    ) -> dict[Place, BaseException]:
        """Wait until every batch is acknowledged or has failed. Return the errors of the failed batches: of
        one that has no leader by Kafka's metadata, or no answer ``within_s``, a ``TopicLeaderless``.

        Raises ``KafkaUnavailable`` if one has no answer and no broker returns the metadata either."""
        errors: dict[Place, BaseException] = {}
        limit_s = within_s or ANSWER_WITHIN_S
        silent = await _unanswered(futures, _SILENT_S)
        if silent:
            for partition in await self._leaderless(silent):
                errors[partition] = TopicLeaderless(f"{partition[0]}/{partition[1]} has no leader")
                del silent[partition]
            silent = await _unanswered(silent, limit_s - _SILENT_S)
        if silent:
            await self.ensure_answers(_METADATA_WITHIN_S)
            for topic, number in silent:
                words = (
                    f"{topic}/{number} has not acknowledged for {limit_s:g} s: too few replicas in sync, say"
                )
                errors[topic, number] = TopicLeaderless(words)
                if len(silent) == len(futures) and within_s is None:
                    self._status.turn("stalled", f"Kafka answers, but {words}; callbacks are kept meanwhile")
        failed = {place: future.exception() for place, future in futures.items() if future.done()}
        return errors | {place: error for place, error in failed.items() if error is not None}


def _fill(
    builder: Any, records: deque[CallbackRecord], largest: float, most: int | None
) -> list[CallbackRecord]:
    """Move the first of ``records`` into the batch: one, and then more up to ``largest`` bytes and ``most``
    records."""
    batch = list[CallbackRecord]()
    while records and len(batch) != most:
        record = records[0][1]
        if batch and builder.size() + len(record.value) > largest:
            break
        headers = list(record.headers)
        if builder.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None:
            break
        batch.append(records.popleft())
    return batch


def _ends_producer(reason: Refusal, batch: _Batch) -> bool:
    """Return whether the producer of ``batch`` cannot go on: it may still send what does not answer, or its
    sequence numbers are wrong."""
    return reason in BLOCKING or batch.idempotent


async def _unanswered(
    futures: "Mapping[Place, asyncio.Future[object]]", within_s: float
) -> "dict[Place, asyncio.Future[object]]":
    """Those of ``futures`` that are not done ``within_s``."""
    if futures:
        await asyncio.wait(futures.values(), timeout=within_s)
    return {partition: future for partition, future in futures.items() if not future.done()}


def _refuse(refused: Refused, topic: str, records: Sequence[CallbackRecord], reason: Refusal) -> None:
    """Add the callbacks of ``records`` to ``refused``."""
    for seq, _ in records:
        if refused.get((seq, topic)) not in BLOCKING:
            refused[seq, topic] = reason
