"""Times: the API's, whose Z is false, those of events, which are finer, and those of forms."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from structlog.testing import capture_logs

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.templates import template_name
from dingbridge.consumers.approval.archive.times import ApiClock
from dingbridge.consumers.approval.check import CHECK
from dingbridge.consumers.approval.tables import approval_instances, approval_operations, approval_tasks
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.clock import CHINA
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import LATER, Office, T, deliver, instance, only, task

moments = st.datetimes(datetime(2017, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))


def stamp(moment, zone):
    return f"{moment.astimezone(zone):%Y-%m-%dT%H:%MZ}"


def minute(moment):
    return moment.replace(second=0, microsecond=0)


@given(moments, st.booleans(), st.timedeltas(timedelta(0), timedelta(days=200)))
def test_times_are_right_to_the_minute_whether_the_z_is_true_or_not(start, true_z, after):
    printed_in = UTC if true_z else CHINA
    business_id = f"{start.astimezone(CHINA):%Y%m%d%H%M}000123456"
    clock = ApiClock(stamp(start, printed_in), business_id)
    assert clock.true_utc is true_z
    for moment in (start, start + after):
        assert clock.time(stamp(moment, printed_in)) == minute(moment)


@given(moments, st.integers(0, 59_999))
def test_an_events_time_is_finer_and_stays(start, ms):
    """In one minute with the API's time, and where they disagree."""
    exact = minute(start) + timedelta(milliseconds=ms)
    at_ms = int(exact.timestamp() * 1000)
    for text in (stamp(start, CHINA), stamp(start + timedelta(hours=3), CHINA), None, "soon"):
        assert ApiClock().finer(at_ms, text) == exact
    assert ApiClock().finer(None, stamp(start, CHINA)) == minute(start)


@pytest.mark.parametrize(
    ("create_time", "business_id", "utc"),
    [
        ("2026-04-16T15:34Z", "202604161534000123456", "2026-04-16T07:34:00+00:00"),
        ("2023-05-09T19:23Z", "202305091923000123456", "2023-05-09T11:23:00+00:00"),
        ("2026-04-15T00:41Z", "202604150041000123456", "2026-04-14T16:41:00+00:00"),  # people in Mexico
        ("2026-04-16T07:34Z", "202604161534000123456", "2026-04-16T07:34:00+00:00"),
        ("2025-12-31T23:59Z", "202601010759000123456", "2025-12-31T23:59:00+00:00"),
        # nothing to compare with, or something odd: the Z is false
        ("2026-04-16T15:34Z", None, "2026-04-16T07:34:00+00:00"),
        ("2026-04-16T15:34Z", "20260416", "2026-04-16T07:34:00+00:00"),
        ("2026-04-16T15:34Z", "202604161535000123456", "2026-04-16T07:34:00+00:00"),
        ("2026-04-16T15:34Z", 202604161534000123456, "2026-04-16T07:34:00+00:00"),
        # a text without a Z is China's as well, one with an offset says what it is
        ("2022-06-19 23:21:17", "202206192321000123456", "2022-06-19T15:21:17+00:00"),
        ("2026-04-16T15:34+09:00", "202604161434000123456", "2026-04-16T06:34:00+00:00"),
    ],
)
def test_captured_times(create_time, business_id, utc):
    assert ApiClock(create_time, business_id).time(create_time).isoformat() == utc


@pytest.mark.parametrize(
    "odd", [None, "", "Z", "9999-12-31T23:59Z", "2026-02-30T00:00Z", "0001-01-01T00:00Z", 5, ["x"]]
)
def test_no_time_is_too_odd(odd):
    clock = ApiClock(odd, odd)
    assert clock.true_utc is False
    clock.time(odd)
    clock.finer(odd, odd)


async def test_a_finer_time_outlives_every_later_document(archive, office):
    office.finish()
    await deliver(archive, task("start", T + 7_001))
    await deliver(archive, task("finish", T + 99_002, result="agree", createTime=T + 7_001))
    await deliver(archive, instance("finish", T + 99_500))
    office.finish(ccUserIds=["u9"])
    await deliver(archive, task("comment", T + 300_000, received_ms=LATER, taskId=..., content="好"))
    assert office.calls[INSTANCES] == 2
    row, done = await only(archive, approval_instances), await only(archive, approval_tasks)
    assert (row.started_at, row.finished_at) == tuple(map(at, (T, T + 99_500)))
    assert (row.started_at_raw, row.true_utc) == ("2024-11-08T01:20Z", False)
    assert (done.started_at, done.finished_at) == tuple(map(at, (T + 7_001, T + 99_002)))


async def test_times_of_one_minute_keep_the_order_of_the_list(archive, office):
    record, same = {"type": "ADD_REMARK"}, {"date": "2024-11-08T01:21Z"}
    office.finish(operationRecords=[{**record, **same, "remark": str(number)} for number in range(12)])
    await deliver(archive, instance("finish"))
    by = approval_operations.c.operated_at, approval_operations.c.position
    rows = await archive.rows(select(approval_operations).order_by(*by))
    assert [row.remark for row in rows] == [str(number) for number in range(12)]


async def test_times_that_are_utc_are_read_so_and_said_loudly(tmp_path, monkeypatch):
    office = Office()
    url = f"sqlite:///{tmp_path / 'approval.db'}"
    monkeypatch.setenv("DATABASE_URL", url)
    assert CHECK.look is not None
    assert await CHECK.look(None) == [], "there is no archive"  # type: ignore[arg-type]
    office.finish(createTime="2024-11-07T17:20Z", finishTime="2024-11-07T17:21Z")
    async with MemoryRuntime(Approval({}), database_url=url, dingtalk=office) as archive:
        with capture_logs() as logs:
            await deliver(archive, instance("finish", createTime=..., finishTime=...))
        row = await only(archive, approval_instances)
        name = "dingbridge_approval_true_utc_times_total"
        counted = archive.consumer.registry.get_sample_value(name)
        (finding,) = await CHECK.look(None)  # type: ignore[arg-type]
    assert (row.true_utc, row.started_at, row.finished_at) == (True, at(T), at(T + 60_000))
    assert counted == 1
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["approval.times_are_utc"]
    assert (finding.code, finding.values) == ("approval.true_utc", {"number": 1})
    assert all(words.format(number=1) for said in CHECK.words.values() for words in (*said.en, *said.zh))


def at(ms):
    return datetime.fromtimestamp(ms / 1000, UTC)


# -- The template of an approval by the name in its title


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("张三提交的请假", "请假"),
        ("张三提交的提交的东西", "提交的东西"),
        ("Li Lei提交的 Travel request ", "Travel request"),
        ("请假", None),
        ("张三提交的", None),
        ("", None),
        (None, None),
    ],
)
def test_the_name_stands_behind_who_submitted_it(title, name):
    assert template_name(title) == name
