"""What may happen to the bridge: events, and troubles of Kafka, the machine, its disk and DingTalk."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import apsw

from tests.lives.bridge.dingtalk import TYPES

if TYPE_CHECKING:
    from tests.lives.bridge.life import BridgeLife

Act = Callable[["BridgeLife", Random], None]
LARGE, LIMIT = 30_000, 20_000


class Happening(NamedTuple):
    weight: int
    act: Act


ACTS: dict[str, Happening] = {}


def happens(weight: int) -> Callable[[Act], Act]:
    def note(act: Act) -> Act:
        ACTS[act.__name__] = Happening(weight, act)
        return act

    return note


def _a_busy_topic(life: "BridgeLife", dice: Random, trouble: set[str], for_s: float) -> None:
    """One that is in ``trouble`` for so long, with callbacks meanwhile and when it takes records again."""
    kind = dice.choice(TYPES)
    topic = life.kafka_settings.topic_prefix + kind
    trouble.add(topic)
    life.later(for_s, lambda: trouble.discard(topic))
    for _ in range(dice.choice((0, 6, 12))):
        at_s = for_s * dice.random() if dice.random() < 0.4 else for_s + 4 * dice.random()
        life.later(at_s, partial(life.machine.dingtalk.push, kind))
    if dice.random() < 0.5:
        life.later(for_s + dice.random(), life.retry)


# Events


@happens(10)
def callbacks(life: "BridgeLife", dice: Random) -> None:
    for _ in range(dice.randint(1, 6)):
        life.machine.dingtalk.push(dice.choice(TYPES), dice.choice((0, 0, 500, 6000)))


@happens(4)
def callbacks_of_one_kind(life: "BridgeLife", dice: Random) -> None:
    kind = dice.choice(TYPES)
    for number in range(dice.randint(4, 12)):
        life.later(number * dice.choice((0.0, 0.03)), lambda: life.machine.dingtalk.push(kind))


@happens(5)
def stream_events(life: "BridgeLife", dice: Random) -> None:
    for _ in range(dice.randint(1, 4)):
        life.machine.dingtalk.stream(dice.choice(TYPES), dice.choice((0, 0, 3000)))


@happens(2)
def a_large_one(life: "BridgeLife", dice: Random) -> None:
    """Its topic takes no such records for a while, or until the end."""
    life.machine.cluster.largest = LIMIT
    life.machine.dingtalk.push(dice.choice(TYPES), LARGE)
    for _ in range(2):
        life.machine.dingtalk.push(dice.choice(TYPES))


# Kafka


@happens(2)
def kafka_is_away(life: "BridgeLife", dice: Random) -> None:
    life.machine.cluster.is_away = True
    life.later(dice.choice((2.0, 15.0, 90.0)), lambda: setattr(life.machine.cluster, "is_away", False))


@happens(3)
def a_topic_is_forbidden(life: "BridgeLife", dice: Random) -> None:
    _a_busy_topic(life, dice, life.machine.cluster.forbidden, dice.choice((3.0, 30.0, 200.0)))


@happens(3)
def a_topic_has_no_leader(life: "BridgeLife", dice: Random) -> None:
    _a_busy_topic(life, dice, life.machine.cluster.leaderless, dice.choice((1.0, 7.0, 40.0)))


@happens(2)
def kafka_answers_late(life: "BridgeLife", dice: Random) -> None:
    cluster, name = life.machine.cluster, dice.choice(("takes_s", "answers_s"))
    setattr(cluster, name, dice.choice((0.3, 4.0, 25.0)))
    life.later(dice.choice((5.0, 40.0)), lambda: setattr(cluster, name, 0.001))


# The machine


@happens(5)
def the_power_goes(life: "BridgeLife", dice: Random) -> None:
    life.machine.pause_s = dice.choice((3.0, 3.0, 45.0, 200.0))
    life.machine.dies(after_writes=dice.choice((0, 1, 2, 5, 12, 40)))
    _perhaps_again(life, dice)


def _perhaps_again(life: "BridgeLife", dice: Random) -> None:
    """The power goes while the next process starts, or drains."""
    if dice.random() < 0.5:
        life.machine.dies_in_start = dice.choice((1, 2, 4, 8, 16, 30, 60))


@happens(4)
def the_process_is_killed(life: "BridgeLife", dice: Random) -> None:
    """At a write, or at what it asks of another machine."""
    machine, soon = life.machine, dice.choice((1, 2, 3, 8, 30))
    machine.pause_s = dice.choice((3.0, 3.0, 45.0))
    if dice.random() < 0.5:
        machine.dies(after_writes=soon, share=1.0)
    elif machine.process is not None and machine.process.alive:
        machine.process.crash_in = soon


@happens(1)
def it_is_started_again(life: "BridgeLife", dice: Random) -> None:
    life.machine.ends()


@happens(3)
def a_page_is_damaged(life: "BridgeLife", dice: Random) -> None:
    """While the machine is off, perhaps with callbacks that wait for Kafka."""
    life.machine.next_start(life.machine.damage)
    _perhaps_again(life, dice)
    _after_some(life, dice, partial(life.machine.dies, share=1.0))


@happens(2)
def the_folder_is_moved_aside(life: "BridgeLife", dice: Random) -> None:
    life.machine.next_start(life.machine.move_aside)
    _perhaps_again(life, dice)
    _after_some(life, dice, life.machine.ends)


def _after_some(life: "BridgeLife", dice: Random, act: Callable[[], None]) -> None:
    """Do it once callbacks wait for Kafka, or at once."""
    if dice.random() < 0.3:
        act()
        return
    kafka_is_away(life, dice)
    for _ in range(dice.randint(2, 8)):
        life.machine.dingtalk.push(dice.choice(TYPES), dice.choice((0, 6000)))
    life.later(1.0, act)


@happens(3)
def the_disk_takes_no_write(life: "BridgeLife", dice: Random) -> None:
    """It is full, or the quota is spent."""
    full = dice.random() < 0.5

    def refuses(what: str) -> None:
        if what == "write":
            raise apsw.FullError("full") if full else apsw.exception_for(apsw.SQLITE_IOERR_WRITE)

    life.machine.refuses = refuses
    life.later(dice.choice((0.2, 5.0, 50.0)), life.machine_is_well)


@happens(1)
def syncs_fail(life: "BridgeLife", dice: Random) -> None:
    """Once, or for long enough to count as damage."""
    life.machine.hurt = True
    if dice.random() < 0.5:
        life.machine.disk.sync_fails_at = life.machine.disk.syncs + 1
        return

    def refuses(what: str) -> None:
        if what == "sync":
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    life.machine.refuses = refuses
    life.later(5.0, life.machine_is_well)


@happens(2)
def the_disk_is_slow(life: "BridgeLife", dice: Random) -> None:
    life.machine.slow_s = dice.choice((0.5, 3.0))
    life.later(12.0, lambda: setattr(life.machine, "slow_s", 0.0))


# DingTalk and the operator


@happens(2)
def answers_get_lost(life: "BridgeLife", dice: Random) -> None:
    life.machine.dingtalk.loses_answers = dice.choice((0.3, 1.0))
    life.later(dice.choice((5.0, 60.0)), lambda: setattr(life.machine.dingtalk, "loses_answers", 0.0))


@happens(2)
def stream_is_away(life: "BridgeLife", dice: Random) -> None:
    dingtalk = life.machine.dingtalk
    dingtalk.stream_is_away = True
    for socket in [*dingtalk.sockets]:
        socket.shut()
    life.later(dice.choice((5.0, 50.0, 200.0)), lambda: setattr(dingtalk, "stream_is_away", False))


@happens(1)
def stream_asks_for_another_connection(life: "BridgeLife", dice: Random) -> None:
    life.machine.dingtalk.disconnect()


@happens(1)
def pages_of_the_failed_list_get_lost(life: "BridgeLife", dice: Random) -> None:
    life.machine.dingtalk.list_answers_lost = dice.choice((1, 2))


@happens(2)
def the_operator_retries(life: "BridgeLife", dice: Random) -> None:
    life.retry()


@happens(2)
def nothing_happens(life: "BridgeLife", dice: Random) -> None:
    """For long enough that something is pruned."""


def sleep_of(name: str, dice: Random) -> float:
    """How long after the step before it comes, in s."""
    if name == "nothing_happens":
        return 150.0
    return dice.choice((0.0, 0.0, 0.02, 0.3, 2.0, 12.0, 40.0))
