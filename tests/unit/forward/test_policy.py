"""What an answer means, and how long it asks to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.consumers.forward.policy import AnswerKind, read, retry_after_s
from dingbridge.retry import ASKED_MAX_S

POLICY: dict[AnswerKind, set[int]] = {
    "taken": set(range(200, 300)),
    "unavailable": {429, 503},
    "unauthorized": {401, 403},
    "not_found": {404, *range(300, 400)},
    "failed": {408, 425, *range(100, 200), *range(500, 600)} - {503},
}
"""The guide's table; every other 4xx is refused."""


@given(st.integers(100, 599))
def test_every_status_has_the_meaning_that_the_guide_says(status: int) -> None:
    answer = read(status, {"Retry-After": "7"})
    assert answer.kind == next((kind for kind, statuses in POLICY.items() if status in statuses), "refused")
    assert str(status) in answer.words
    assert answer.after_s == (None if answer.kind in ("taken", "refused") else 7)


FAR_OFF = {
    "year": "Mon, 01 Jan 99999999999 00:00:00 GMT",
    "zone": "Wed, 21 Oct 2015 07:28:00 +99999999999999999999",
    "day": "Mon, 99999999999 Jan 2015 00:00:00 GMT",
    "edge": "Fri, 31 Dec 9999 23:59:59 -2359",
}
"""Dates that are none, as one of a broken or hostile system may be."""


@pytest.mark.parametrize("value", FAR_OFF.values(), ids=FAR_OFF)
@pytest.mark.parametrize(
    ("status", "kind"), [(200, "taken"), (422, "refused"), (503, "unavailable"), (500, "failed")]
)
def test_no_date_makes_another_answer_of_a_status(status: int, kind: str, value: str) -> None:
    answer = read(status, {"Retry-After": value})
    assert (answer.kind, answer.after_s) in [(kind, None), (kind, ASKED_MAX_S)]


@given(*[st.integers(0, 10**30)] * 4, st.sampled_from("+-"))
def test_no_numbers_in_a_date_are_an_error(day: int, year: int, hour: int, zone: int, sign: str) -> None:
    found = retry_after_s(f"Mon, {day} Jan {year} {hour}:00:00 {sign}{zone}")
    assert found is None or 0 <= found <= ASKED_MAX_S


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0),
        (" 120 ", 120),
        ("99999999999999", ASKED_MAX_S),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2199 07:28:00 GMT", ASKED_MAX_S),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value) == seconds


def test_retry_after_as_a_date_counts_from_now() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    assert retry_after_s(moment) == pytest.approx(299, abs=60)


@given(st.text())
def test_whatever_stands_there_is_no_error(value: str) -> None:
    found = retry_after_s(value)
    assert found is None or 0 <= found <= ASKED_MAX_S
