"""The day's curves: what came in which quarter of an hour, and what waited at its end."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

from dingbridge.console.index.records import moment
from dingbridge.console.index.trend import STEP_S, STEPS, add_freshness, trend
from tests.unit.console.index_support import entries, event_record, kafka_record, opened

UNTIL = 1_767_225_600.0


def ms(step: int) -> int:
    """In the middle of a step; those before the day have negative numbers."""
    return int((UNTIL - STEP_S * (STEPS - step - 0.5)) * 1000)


def test_the_day_is_counted_by_the_quarter_of_an_hour(tmp_path: Path) -> None:
    came = {0: -4, 1: -4, 2: 10, 3: 10, 4: 95}
    letters = [
        kafka_record("ctl.dlq.a", 0, offset, b"{}", at_ms=ms(step), dingbridge_dlq_topic="t")
        for offset, step in came.items()
    ]
    settled = {5: (-2, [0]), 6: (20, [2, 3]), 7: (30, [2])}  # a second note of a letter changes nothing
    notes = [
        kafka_record(
            "ctl.dlq.a", 0, offset, repr(of).encode(), at_ms=ms(step), dingbridge_dlq_settled=f"r{offset}"
        )
        for offset, (step, of) in settled.items()
    ]
    steps = [-1, 0, 7, 7, 95]
    events = [
        event_record("user_add_org", f"e{number}", "u1", number, at_ms=ms(step))
        for number, step in enumerate(steps)
    ]
    with closing(opened(tmp_path)) as index:
        index.add(entries(*events, *letters, *notes), {})
        add_freshness(index, ms(3) / 1000, {"a": 2.0, "b": 5.0})
        add_freshness(index, ms(4) / 1000, {"a": float("inf")})
        add_freshness(index, UNTIL - 1, {})
        day = trend(index, UNTIL)
        assert {step: rate for step, rate in enumerate(day.rate) if rate} == {
            0: 1 / STEP_S,
            7: 2 / STEP_S,
            95: 1 / STEP_S,
        }
        assert {s: value for s, value in enumerate(day.freshness) if value is not None} == {
            3: 5.0,
            4: float("inf"),
        }
        assert day.letters == tuple(1.0 + 2 * (10 <= step < 20) + (step == 95) for step in range(STEPS))

        index.prune(moment(ms(7)) - timedelta(seconds=1), {})
        day = trend(index, UNTIL)
        assert day.rate[:7] == (None,) * 7, "the events of that time are gone"
        assert day.rate[8] == 0
