"""The one place that creates our topics, and that lists them. What they are called, and how long they keep
what they have, is ``topic_policy.py``'s.

Topics exist before they are used: a first send or subscribe to one that does not would wait for
auto-creation, or create it with the broker's own defaults. Publisher and worker call ``ensure_topics``.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from dingbridge.errors import KafkaUnavailable, TopicError, TopicForbidden, TopicLeaderless
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.client import principal
from dingbridge.kafka.topic_policy import topic_configs
from dingbridge.settings import KafkaSettings

log = structlog.get_logger(__name__)

Place = tuple[str, int]
"""Topic and partition."""
_NAMED = 3
"""So many partitions are named; of more only how many."""


async def ensure_topics(
    settings: KafkaSettings,
    names: Iterable[str],
    *,
    partitions: Mapping[str, int] | None = None,
    timeout_s: float = 30,
) -> dict[str, int]:
    """Create those of ``names`` that are missing, and wait until the cluster's metadata shows all of them.

    ``partitions`` overrides ``TOPIC_PARTITIONS`` by name. Topics that exist are left as they are: raising
    partitions in place would move keys, and with them the order of their events.

    Returns the partition count of each topic. Raises ``KafkaUnavailable`` when Kafka does not answer, and
    ``TopicError`` when it refuses to create one or does not show it within ``timeout_s``: for want of a right
    that is a ``TopicForbidden``, for want of a partition's leader a ``TopicLeaderless``.
    """
    wanted = sorted(set(names))
    unled: set[Place] = set()
    limit = asyncio.timeout(timeout_s)
    async with admin_client(settings) as admin:
        try:
            async with limit:
                return await _ensure(admin, settings, wanted, partitions or {}, unled)
        except TimeoutError:
            if not limit.expired():  # the client's own: then the cluster is away, and it is not about a topic
                raise
            if unled:
                raise TopicLeaderless(unled_words(sorted(unled))) from None
            raise TopicError(
                f"topics {', '.join(wanted)} did not appear within {timeout_s:g} s; see the controller's log"
            ) from None


async def existing_topics(settings: KafkaSettings, wanted: Collection[str] = ()) -> dict[str, int]:
    """The partition count of every topic under our two prefixes, but for those of which a partition has no
    leader. Raises ``KafkaUnavailable``, and for a topic of ``wanted`` without leaders as well: who reads that
    must not take it for one that is not there."""
    counts, unled = await listed_topics(settings)
    if places := [place for place in sorted(unled) if place[0] in wanted]:
        raise KafkaUnavailable(f"Kafka at {settings.kafka_bootstrap_servers}: {unled_words(places)}")
    return counts


async def listed_topics(settings: KafkaSettings) -> tuple[dict[str, int], set[Place]]:
    """The same counts, and the partitions without a leader of the other topics. Raises
    ``KafkaUnavailable``."""
    unled: set[Place] = set()
    prefixes = (settings.topic_prefix, settings.control_prefix)
    async with admin_client(settings) as admin:
        names = [name for name in await admin.list_topics() if name.startswith(prefixes)]
        return (await _partition_counts(admin, sorted(names), unled=unled) if names else {}), unled


def unled_words(places: Collection[Place]) -> str:
    """The remedy for partitions without a leader."""
    named = ", ".join(f"{topic}/{number}" for topic, number in sorted(places)[:_NAMED])
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    verb = "has" if len(places) == 1 else "have"
    return f"{named}{more} {verb} no leader: the brokers that hold it are down; start one of them"


async def _ensure(
    admin: AIOKafkaAdminClient,
    settings: KafkaSettings,
    wanted: list[str],
    partitions: Mapping[str, int],
    unled: set[Place],
) -> dict[str, int]:
    counts = await _partition_counts(admin, wanted)
    missing = [name for name in wanted if name not in counts]
    if missing:
        brokers = len((await admin.describe_cluster())["brokers"])
        if not brokers:  # all are fenced, as after a freeze: how many copies there can be is not known yet
            raise KafkaUnavailable(
                f"Kafka at {settings.kafka_bootstrap_servers} answers, but its brokers are not in touch with "
                "their controller; if that stays so, see the controller's log"
            )
        replication = settings.topic_replication or min(3, brokers)
        response = await admin.create_topics(
            [
                NewTopic(
                    name=name,
                    num_partitions=partitions.get(name, settings.topic_partitions),
                    replication_factor=replication,
                    topic_configs=topic_configs(settings, name, replication),
                )
                for name in missing
            ]
        )
        if created := [name for name, code, *_ in response.topic_errors if code == 0]:
            log.info("topics.created", topics=created, replication=replication)
        for name, code, *rest in response.topic_errors:
            if code == TopicAuthorizationFailedError.errno:
                raise TopicForbidden(
                    f"{principal(settings)} sees no topic {name} and may not create it: grant CREATE, or, "
                    "if it exists, WRITE (to publish) or READ (to consume); see docs/explanation/security.md"
                )
            if code not in (0, TopicAlreadyExistsError.errno):
                if (refused := for_code(code)()).retriable:
                    raise refused  # no controller just now: it is not about this topic
                raise TopicError(_refusal(name, code, rest[0] if rest else None))
    while missing := [name for name in wanted if name not in counts]:
        unled.clear()
        counts |= await _partition_counts(admin, missing, exist=True, unled=unled)
        if len(counts) < len(wanted):
            await asyncio.sleep(0.05)
    return counts


async def _partition_counts(
    admin: AIOKafkaAdminClient, names: list[str], *, exist: bool = False, unled: set[Place] | None = None
) -> dict[str, int]:
    """The partition counts of the topics that are ready; partitions without a leader are added to ``unled``.
    ``exist``: all topics exist, so one that we may not see is not missing.

    Kafka answers "not authorized" for a missing topic, too, if the client may not see it.
    """
    counts = {}
    for topic in await admin.describe_topics(names):
        if exist and topic["error_code"] == TopicAuthorizationFailedError.errno:
            raise TopicForbidden(
                f"topic {topic['topic']} exists, and we may not see it: grant WRITE (to publish) or READ (to "
                "consume) on it; see docs/explanation/security.md"
            )
        ready = [p for p in topic["partitions"] if p["error_code"] == 0 and p["leader"] >= 0]
        if topic["error_code"] == 0 and ready and len(ready) == len(topic["partitions"]):
            counts[topic["topic"]] = len(ready)
        elif unled is not None:
            unled |= {(topic["topic"], p["partition"]) for p in topic["partitions"] if p["leader"] < 0}
    return counts


def _refusal(name: str, code: int, message: str | None) -> str:
    kind = for_code(code).__name__
    detail = f": {message}" if message else ""
    return (
        f"Kafka refused to create topic {name} ({kind}{detail}); create it by hand, or "
        "lower TOPIC_REPLICATION if brokers are missing"
    )
