"""The line's states: whatever listeners say, each part has one state, and the sentence names the worst."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.samples import Sample

from dingbridge.console.line.drawing import curve, tall, wide
from dingbridge.console.line.model import line
from dingbridge.console.line.part import Part, State, Trouble, not_known, wrong
from dingbridge.console.line.today import Today
from dingbridge.console.line.waiting import Waiting
from dingbridge.console.line.window import INGRESS, Reading, Window
from dingbridge.console.sources.listeners import Metrics
from dingbridge.kafka.group_lag import Group, TopicLag

NAMES = (
    "journal_writable",
    "journal_free_bytes",
    "journal_oldest_waiting_seconds",
    "journal_damaged_folders",
    "parked",
    "stream_connections",
    "clock_skew_seconds",
    "apps_file_rejected",
    "callbacks_total",
    "answer_seconds_bucket",
    "last_callback_timestamp_seconds",
    "consumer_joined",
    "consumer_events_total",
    "consumer_dead_letters_total",
    "consumer_handler_seconds_bucket",
    "consumer_freshness_seconds_bucket",
)


def metrics(*samples: tuple[str, float] | tuple[str, float, Mapping[str, str]]) -> Metrics:
    return Metrics([Sample("dingbridge_" + s[0], dict(s[2]) if len(s) == 3 else {}, s[1]) for s in samples])


def reading(name: str, at: float, *samples: Any, **told: Any) -> Reading:
    return Reading(name, f"http://{name}", at, metrics=metrics(*samples), **told)


WELL = (("journal_writable", 1.0), ("journal_free_bytes", 1e12))
JOINED = (("consumer_joined", 1.0, {"consumer": "billing"}),)


def parts_of(now: Sequence[Reading], before: Sequence[Reading] = (), **known: Any) -> list[Part]:
    groups = known.get("groups", {"billing": Group(1)})
    return line(before, now, groups, known.get("installed", ()), known.get("waiting", Waiting()))


def worst(parts: Sequence[Part]) -> Part | None:
    return next((part for part, _ in wrong(parts)), None)


numbers = st.one_of(st.sampled_from([0.0, 1.0, 0.5, 1e15, -200.0]), st.floats(-1e9, 1e18))
samples = st.builds(
    lambda name, value, labels: Sample(
        "dingbridge_" + name, {**labels, **({"le": "1.5"} if name.endswith("_bucket") else {})}, value
    ),
    st.sampled_from(NAMES),
    numbers,
    st.fixed_dictionaries(
        {},
        optional={
            "consumer": st.sampled_from(["billing", "other"]),
            "outcome": st.sampled_from(["kept", "forbidden", "unavailable"]),
            "reason": st.sampled_from(["", "signature", "age", "stopping", "disk"]),
            "app": st.just("default"),
        },
    ),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
told = st.fixed_dictionaries(
    {},
    optional={
        "paused": st.lists(
            st.fixed_dictionaries({}, optional={"waits_for": anything, "since": anything}), max_size=2
        )
        | anything,
        "records": st.lists(
            st.fixed_dictionaries(
                {}, optional={"outcome": st.sampled_from(["retry", None]), "since": anything}
            ),
            max_size=2,
        )
        | anything,
        "database": anything,
        "unavailable": anything,
        "kafka": st.fixed_dictionaries({}, optional=dict.fromkeys(("state", "words", "since"), anything))
        | anything,
    },
)
readings = st.lists(
    st.builds(
        Reading,
        st.sampled_from([INGRESS, "billing", "forward-a"]),
        st.sampled_from(["http://a", "http://b"]),
        st.floats(1.7e9, 1.8e9),
        st.sampled_from(["", "", "", "cannot be reached"]),
        st.booleans(),
        told,
        st.lists(samples, max_size=12).map(Metrics),
        told,
    ),
    max_size=5,
)
groups = st.dictionaries(
    st.sampled_from(["billing", "approval"]),
    st.builds(
        Group,
        st.integers(0, 3),
        st.just("Stable"),
        st.dictionaries(st.just("t"), st.builds(TopicLag, st.integers(0, 9), st.none() | st.floats(0, 1e6))),
    ),
)


waits = st.builds(
    Waiting,
    st.dictionaries(
        st.sampled_from(["billing", "gone"]), st.tuples(st.integers(1, 9), st.integers(0, 1 << 48))
    ),
    st.none() | st.integers(0, 9_999),
    st.none() | st.dictionaries(st.sampled_from(["conflict", "pending"]), st.integers(0, 9)),
)


@given(readings, readings, groups, waits)
def test_whatever_is_said_each_part_has_one_state_and_the_worst_is_named(
    before: list[Reading], now: list[Reading], known: dict[str, Group], waiting: Waiting
) -> None:
    parts = line(before, now, known, ["billing", "approval"], waiting)
    places = [(part.kind, part.consumer) for part in parts]
    assert len(set(places)) == len(places)
    assert places[:3] == [("dingtalk", ""), ("journal", ""), ("kafka", "")]
    on_the_line = {"billing", "approval", *waiting.dead_letters}
    assert on_the_line <= {part.consumer for part in parts if part.kind == "consumer"}
    assert all((part.trouble is None) == (part.state is State.OK) for part in parts)
    for drawing in (wide(parts), tall(parts)):
        assert [box.part for box in drawing.boxes] == parts
        assert len(drawing.edges) == len(parts) - 1, "each part but the first is led to"
        assert all(
            box.right <= drawing.width and box.y + box.height <= drawing.height for box in drawing.boxes
        )
    named = worst(parts)
    assert (named is None) == all(part.state <= State.UNKNOWN for part in parts)
    if named is not None:
        assert named.state == max(part.state for part in parts)
        assert named is next(part for part in parts if part.state == named.state)


def test_all_is_well() -> None:
    parts = parts_of([reading(INGRESS, 10, *WELL), reading("billing", 10, *JOINED)])
    assert {part.state for part in parts} == {State.OK}
    assert worst(parts) is None


INGRESS_TROUBLES = {
    "not_writable": (("journal_writable", 0.0),),
    "damaged": (("journal_damaged_folders", 1.0),),
    "disk_low": (("journal_free_bytes", 1e8),),
    "publishing_behind": (("journal_oldest_waiting_seconds", 61.0),),
    "parked": (("parked", 2.0, {"reason": "size"}),),
    "clock": (("clock_skew_seconds", -121.0),),
    "apps_file": (("apps_file_rejected", 1.0),),
    "stream_down": (("stream_connections", 0.0, {"app": "default"}),),
}


@pytest.mark.parametrize(("code", "samples"), INGRESS_TROUBLES.items(), ids=list(INGRESS_TROUBLES))
def test_each_trouble_of_the_ingress_is_named(code: str, samples: Any) -> None:
    own = {sample[0] for sample in samples}
    now = reading(INGRESS, 10, *(sample for sample in WELL if sample[0] not in own), *samples)
    found = worst(parts_of([now]))
    assert found is not None
    assert found.trouble is not None
    assert found.trouble.code == code


@pytest.mark.parametrize(
    ("state", "code"), [("down", "kafka_down"), ("stalled", "kafka_down"), ("restarting", "relay_restarting")]
)
def test_what_the_relay_reports_of_kafka_is_shown_in_its_words(state: str, code: str) -> None:
    kafka = {"state": state, "words": "no broker of k:9092 answers", "since": 1767225600.0}
    found = worst(parts_of([reading(INGRESS, 10, *WELL, details={"kafka": kafka})]))
    assert found is not None
    assert found.kind == "kafka"
    words = "no broker of k:9092 answers"
    assert found.trouble == Trouble(State.STOPPED, code, text=words, since=1767225600.0)


def test_what_is_published_is_the_ingresss_count_and_what_waits_is_the_journals() -> None:
    def at(seconds: float, published: float) -> list[Reading]:
        counted = ("published_total", published, {"event_type": "other"})
        return [reading(INGRESS, seconds, *WELL, ("journal_oldest_waiting_seconds", 61.0), counted)]

    kafka = parts_of(at(20, 150), at(10, 100))[2]
    assert (kafka.rate, kafka.oldest_s) == (5, 61)
    assert kafka.trouble == Trouble(State.DEGRADED, "publishing_behind", {"seconds": 61})


def test_counters_that_grow_are_trouble_and_those_that_stand_still_are_not() -> None:
    def at(seconds: float, refused: float) -> list[Reading]:
        kept = ("callbacks_total", 5.0, {"outcome": "kept"})
        unavailable = ("callbacks_total", refused, {"outcome": "unavailable", "reason": "disk"})
        return [
            reading(INGRESS, seconds, *WELL, kept, unavailable),
            reading("billing", seconds, *JOINED),
        ]

    assert worst(parts_of(at(20, 3), at(10, 3))) is None
    codes = [p.trouble.code for p in parts_of(at(20, 4), at(10, 3)) if p.trouble is not None]
    assert codes == ["answered_503"]


WELL_NOW = [reading(INGRESS, 10, *WELL), reading("billing", 10, *JOINED)]


def test_dead_letters_that_wait_are_trouble_whether_they_grow_or_not() -> None:
    """With 376 of them, none new, Now said that all parts work."""
    waiting = Waiting({"billing": (376, 1767225600000), "elsewhere": (1, 0)})
    parts = parts_of(WELL_NOW, WELL_NOW, waiting=waiting)
    found = {part.consumer: part for part, _ in wrong(parts)}
    trouble = Trouble(State.DEGRADED, "dead_letters", {"count": 376}, since=1767225600.0, waits=376)
    assert found["billing"].trouble == trouble
    assert found["billing"].waits == 376
    assert found["elsewhere"].waits == 1, "also of a consumer that does not run here"
    assert wrong(parts_of(WELL_NOW, WELL_NOW)) == []
    more = ("consumer_events_total", 3.0, {"consumer": "billing", "outcome": "dead"})
    now = [*WELL_NOW[:1], reading("billing", 20, *JOINED, more)]
    found = {part.consumer: part for part, _ in wrong(parts_of(now, WELL_NOW, waiting=waiting))}
    assert found["billing"].trouble is not None
    assert found["billing"].trouble.values == {"count": 376, "new": 3}


def test_what_outbound_leaves_alone_is_trouble_by_its_tables_or_else_by_its_listener() -> None:
    told = reading("outbound", 10, ("outbound_entities", 2.0, {"state": "conflict"}))
    counts = {"conflict": 0, "refused": 3, "pending": 9, "requests": 9}
    for tables, expected in ((counts, ("outbound_refused", 3)), (None, ("outbound_conflict", 2))):
        known = {"groups": {"billing": Group(1), "outbound": Group(1)}, "waiting": Waiting(outbound=tables)}
        [(part, trouble)] = wrong(parts_of([*WELL_NOW, told], **known))
        assert (part.consumer, trouble.code, trouble.waits) == ("outbound", *expected)


def test_a_curve_is_broken_where_nothing_tells_and_bounded_by_its_frame() -> None:
    assert curve([0, None, 2, float("inf"), 1], 8, 10) == "M0.0 10.0h1.0M4.0 0.0h1.0L6.0 0.0L8.0 5.0"
    assert curve([None, None], 8, 10) == ""


PAUSE = {"waits_for": "system a: it answered 503", "since": "2026-01-01T00:00:00.000Z"}
RETRY = {
    "outcome": "retry",
    "since": "2026-01-01T00:00:05.000Z",
    "error": "ValueError at billing:1 in handle",
}


@pytest.mark.parametrize("failing", [RETRY, RETRY | {"outcome": "unavailable", "state": "retrying"}])
def test_a_broken_system_behind_a_consumer_is_named_with_its_words_and_time(failing: dict[str, str]) -> None:
    held = {"paused": [PAUSE], "records": [failing]}
    now = [reading(INGRESS, 1767225610, *WELL), reading("billing", 1767225610, *JOINED, in_flight=held)]
    found = worst(parts_of(now))
    assert found is not None
    assert (found.kind, found.consumer, found.state) == ("systems", "billing", State.STOPPED)
    trouble = Trouble(State.STOPPED, "waits", text="system a: it answered 503", since=1767225600.0)
    assert found.trouble == trouble
    assert found.oldest_s == 10
    now = [now[0], reading("billing", 1767225610, *JOINED, in_flight={"records": [failing]})]
    found = worst(parts_of(now))
    assert found is not None
    assert found.trouble == Trouble(State.DEGRADED, "retries", {"count": 1}, RETRY["error"], 1767225605.0, 1)


def test_what_goes_on_by_itself_is_no_trouble() -> None:
    held = {"records": [{"outcome": None, "state": "retrying", "since": RETRY["since"], "error": None}]}
    now = [reading(INGRESS, 10, *WELL), reading("billing", 10, *JOINED, in_flight=held)]
    assert wrong(parts_of(now, groups={"billing": Group(1)})) == []


def test_what_does_not_answer_is_unreachable_and_what_it_would_tell_unknown() -> None:
    parts = parts_of([Reading(INGRESS, "http://a", 10, "cannot be reached")], groups={})
    assert [part.state for part in parts] == [State.UNKNOWN, State.UNREACHABLE, State.UNKNOWN]
    parts = parts_of([reading(INGRESS, 10, *WELL), Reading("billing", "http://a", 10, "cannot be reached")])
    assert [part.state for part in parts[3:]] == [State.UNREACHABLE, State.UNKNOWN]
    assert parts[3].trouble == Trouble(State.UNREACHABLE, "unreachable", text="http://a")


@pytest.mark.parametrize(
    ("group", "state"),
    [
        (None, State.UNKNOWN),
        (Group(0), State.UNKNOWN),
        (Group(1, "Stable", {"t": TopicLag(3, 1.0)}), State.OK),
        (Group(1, "Stable", {"t": TopicLag(3, 301.0)}), State.DEGRADED),
        (Group(0, "Empty", {"t": TopicLag(3, 1.0)}), State.STOPPED),
    ],
)
def test_a_consumer_without_a_listener_is_known_by_its_group(group: Group | None, state: State) -> None:
    known = {} if group is None else {"billing": group}
    parts = parts_of([reading(INGRESS, 10, *WELL)], groups=known, installed=["billing"])
    assert parts[-1].state is state


@pytest.mark.parametrize(
    ("group", "state"),
    [
        (None, State.UNKNOWN),
        (Group(1), State.OK),
        (Group(1, "Stable", {"t": TopicLag(3, 1.0), "u": TopicLag(0)}), State.OK),
        (Group(1, "Stable", {"t": TopicLag(3, 1.0), "u": TopicLag(3)}), State.UNKNOWN),
        (Group(1, "Stable", {"t": TopicLag(3, 301.0), "u": TopicLag(3)}), State.DEGRADED),
    ],
)
def test_a_consumer_with_a_listener_is_well_only_where_kafka_says_how_late_it_is(
    group: Group | None, state: State
) -> None:
    known = {} if group is None else {"billing": group}
    parts = parts_of([reading(INGRESS, 10, *WELL), reading("billing", 10, *JOINED)], groups=known)
    assert [part.state for part in parts if part.kind == "consumer"] == [state]


def test_rates_are_of_what_grew_also_when_a_process_began_anew() -> None:
    def at(seconds: float, **counted: float) -> list[Reading]:
        each = [("callbacks_total", value, {"outcome": name}) for name, value in counted.items()]
        return [reading(INGRESS, seconds, *each)]

    window = Window.of(INGRESS, at(10, kept=100), at(20, kept=150))
    assert window.rate("dingbridge_callbacks_total") == 5
    assert Window.of(INGRESS, at(10, kept=100), at(20, kept=20)).rate("dingbridge_callbacks_total") == 2
    assert Window.of(INGRESS, (), at(20, kept=20)).rate("dingbridge_callbacks_total") is None


@given(st.lists(st.sampled_from([0.005, 0.3, 1.4, 2.0]), min_size=1, max_size=200))
def test_a_quantile_is_no_less_than_what_was(seconds: list[float]) -> None:
    bounds = (0.01, 0.5, 1.5, float("inf"))

    def at(when: float, observed: list[float]) -> list[Reading]:
        each = [
            ("answer_seconds_bucket", float(sum(s <= bound for s in observed)), {"le": str(bound)})
            for bound in bounds
        ]
        return [reading(INGRESS, when, *each)]

    found = Window.of(INGRESS, at(10, []), at(20, seconds)).p99("dingbridge_answer_seconds")
    least = sorted(seconds)[-(-len(seconds) * 99 // 100) - 1]
    assert found == next(bound for bound in bounds if least <= bound)


def test_today_counts_answers_in_time_and_those_that_failed_and_begins_anew_at_midnight() -> None:
    midnight = 1767225600.0

    def at(when: float, fast: float, all_: float, failed: float) -> list[Reading]:
        return [
            reading(
                INGRESS,
                when,
                ("answer_seconds_bucket", fast, {"le": "1.5"}),
                ("answer_seconds_bucket", all_, {"le": "+Inf"}),
                ("callbacks_total", failed, {"outcome": "unavailable", "via": "http"}),
            )
        ]

    today, days = Today(), [at(midnight + 10, 100, 100, 0), at(midnight + 20, 190, 195, 5)]
    today.add((), days[0])
    assert today.share is None
    today.add(*days)
    assert (today.answered, today.good, today.share) == (100, 90, 0.9)
    today.add(days[1], at(midnight + 86_405, 290, 295, 5))
    assert (today.share, today.since) == (None, midnight + 86_405)


@pytest.mark.parametrize(
    ("now", "group"),
    [
        (WELL_NOW[:1], Group(0, topics={"t": TopicLag(0)}, began=False)),
        (WELL_NOW[:1], Group(0, topics={"t": TopicLag(13, 35.0)}, began=False)),
        (WELL_NOW[:1], None),
        (WELL_NOW[1:], Group(1)),
    ],
    ids=["never-started", "its-offsets-are-gone", "not-known-to-kafka", "no-listener-of-the-ingress"],
)
def test_what_is_not_known_is_not_green(now: list[Reading], group: Group | None) -> None:
    """A consumer without an offset, and an ingress without a listener, looked well: Now was green."""
    known = {} if group is None else {"billing": group}
    parts = parts_of(now, now, groups=known, installed=["billing"])
    assert wrong(parts) == []
    assert not_known(parts) != []
    journal = parts[1]
    assert (journal.trouble is None) == any(reading.name == INGRESS for reading in now)


def test_a_consumer_whose_records_wait_from_the_start_of_a_topic_is_stopped() -> None:
    """The group has a committed offset, so the consumer runs here."""
    group = Group(0, topics={"t": TopicLag(0), "new": TopicLag(13, 35.0)})
    [(part, trouble)] = wrong(parts_of(WELL_NOW[:1], groups={"billing": group}, installed=["billing"]))
    assert (part.consumer, trouble.code, trouble.waits) == ("billing", "no_member", 13)
