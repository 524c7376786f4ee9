"""What an answer means, and how long it asks to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.forward.delivery import read, retry_after_s
from consumers.runtime.backoff import ASKED_MAX_S


@given(st.integers(100, 599))
def test_every_status_has_a_meaning(status: int) -> None:
    answer = read(status, {"Retry-After": "7"})
    kinds = {
        "taken": 200 <= status < 300,
        "busy": status in (429, 503),
        "unwelcome": status in (401, 403, 404, 405, 407, 410, 421),
    }
    kinds["refused"] = (
        400 <= status < 500 and status not in (408, 425) and not (kinds["busy"] or kinds["unwelcome"])
    )
    assert answer.kind == next((kind for kind, is_it in kinds.items() if is_it), "failed")
    assert str(status) in answer.words
    assert answer.after_s == (None if answer.kind in ("taken", "refused") else 7)


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
