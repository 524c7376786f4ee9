"""What must be true of the bridge at the end of every life: the comparison of the fault tests, and more."""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from dingbridge.events import decode
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.kafka.topic_policy import control_topic
from tests.lives.bridge.acts import LARGE
from tests.lives.clock import BEGAN_S
from tests.support.comparison import Comparison, Seen

if TYPE_CHECKING:
    from tests.lives.bridge.life import BridgeLife

GAP_S = 31.0
"""A gap of Stream that is longer must be reported (``STREAM_GAP_S`` is 30)."""
SLACK_S = 60.0
_DRAINED = re.compile(r"journal\.drained .*unreadable=(\d+|an)")


class Request(NamedTuple):
    """A resync request in Kafka: when it was written (s of the loop), and since when it asks (epoch ms)."""

    id: str
    at: float
    since_ms: int


def all_problems(life: "BridgeLife") -> list[str]:
    found = [*_settled(life), *_lost(life), *_order(life), *gaps(life), *given_away(life)]
    outcomes = life.machine.dingtalk.pusher.outcomes
    found += [f"an answer: {name}" for name in outcomes if name == "false success" or "fault" in name]
    return found


def _requests(life: "BridgeLife") -> list[Request]:
    topic = control_topic(life.kafka_settings, "resync")
    return [
        Request(event.id, record.timestamp / 1000 - BEGAN_S, event.data["since"])
        for record in life.machine.cluster.topics[topic]
        if (event := decode(record.value)).event_type == RESYNC_REQUESTED
    ]


def _seen(life: "BridgeLife") -> list[Seen]:
    resync = control_topic(life.kafka_settings, "resync")
    seen = []
    for topic, records in life.machine.cluster.topics.items():
        for record in records if topic != resync else ():
            event = decode(record.value)
            number = int(event.data["number"])
            seen.append(
                Seen(
                    number, topic, record.partition, record.offset, record.key or b"", event.journal,
                    event.sequence, event.source, event.id.partition("/")[0],
                )
            )  # fmt: skip
    return seen


def _settled(life: "BridgeLife") -> Iterator[str]:
    dingtalk = life.machine.dingtalk
    if dingtalk.pushing or dingtalk.listed:
        yield f"{len(dingtalk.pushing)} pushes do not end, {len(dingtalk.listed)} stay in the failed list"
    if not life.machine.drained():
        yield f"not everything is published, or drained: {_left(life)}"


def _left(life: "BridgeLife") -> str:
    file = life.machine.ingress._journal._file
    if file is None:
        return f"the journal is closed ({life.machine.ingress._journal.fault})"
    kafka = life.machine.ingress._relay.status
    return f"waiting {file.waiting()}, parked {file.parked_groups()}, Kafka {kafka.state}: {kafka.words}"


def _lost(life: "BridgeLife") -> Iterator[str]:
    """The promise of the fault tests, but for what damage has made unreadable, which is counted and told."""
    machine, dingtalk = life.machine, life.machine.dingtalk
    comparison = Comparison(dingtalk.pusher, _seen(life))
    lost = comparison.lost
    numbers = [match[1] for line in life.log if (match := _DRAINED.search(line))]
    requests = {request.id for request in _requests(life)}
    unreadable = sum(int(number) for number in numbers if number.isdecimal())
    unreadable += sum(1 for id in requests if id.startswith("damaged/"))
    last = max(machine.damaged_at, default=0.0)
    excused = {number for number in lost if dingtalk.answered_at[number] <= last}
    if excused and not any(id.startswith(("damaged/", "drain/")) for id in requests):
        yield f"{sorted(excused)} are lost to damage, and no resync was requested"
    if "an" not in numbers and len(excused) > unreadable:
        yield f"{sorted(excused)} are lost, and only {unreadable} count as unreadable"
    try:
        comparison.assert_holds(hurt=excused, put_aside=len(numbers))
    except AssertionError as wrong:
        yield f"the comparison: {(str(wrong).splitlines() or ['one event has two ids'])[0]}"
    keys: dict[int, set[bytes]] = defaultdict(set)
    for record in comparison.seen:
        keys[record.number].add(record.key)
    half = {number for number in keys if len(keys[number]) < len(dingtalk.about(number))}
    if half:
        yield f"only a part of {sorted(half)} is in Kafka"


def _order(life: "BridgeLife") -> Iterator[str]:
    """Per key and topic Kafka's order is the journal's; what comes again, comes as a run of what stood there.
    Not so for records that were too large, which a person sent later."""
    large = {number for number, body in life.machine.dingtalk.bodies.items() if len(body) > LARGE}
    keys: dict[tuple[str, bytes, str], list[int]] = defaultdict(list)
    for record in sorted(_seen(life), key=lambda one: (one.topic, one.offset)):
        if record.number not in large:
            keys[record.topic, record.key, record.journal].append(int(record.sequence))
    for (topic, key, _), sequence in keys.items():
        order = sorted(set(sequence))
        if [*dict.fromkeys(sequence)] != order:
            yield f"the order of {key!r} in {topic} has changed: {sequence}"
            continue
        place = {seq: number for number, seq in enumerate(order)}
        if any(place[after] > place[before] + 1 for before, after in pairwise(sequence)):
            yield f"a repetition of {key!r} in {topic} has holes: {sequence}"


def gaps(life: "BridgeLife") -> Iterator[str]:
    """The consumers were asked to compare what happened while no Stream connection was open."""
    requests = _requests(life)
    for gap in life.machine.dingtalk.gaps:
        begin_ms = (BEGAN_S + gap.begin) * 1000
        if gap.end - gap.begin > GAP_S and not any(
            one.at > gap.end - SLACK_S and one.since_ms <= begin_ms for one in requests
        ):
            yield f"a gap of Stream from {gap.begin:.1f} to {gap.end:.1f} was not reported"


def given_away(life: "BridgeLife") -> Iterator[str]:
    """What the failed list has given away is in Kafka, or the consumers were asked to compare."""
    there, requests = {one.number for one in _seen(life)}, _requests(life)
    for given in life.machine.dingtalk.given:
        if given.number not in there and not any(
            one.at > given.at and one.since_ms <= given.happened_ms for one in requests
        ):
            yield f"{given.number} was given away by the failed list, and nobody was told"
