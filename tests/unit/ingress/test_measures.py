"""What the ingress measures of itself, where a number is more than a counter."""

import json
import shutil
import time

import orjson
import pytest
import structlog
from prometheus_client import CollectorRegistry

from dingbridge.events import Received, Record, dedupe_key, extract_facts, to_records
from dingbridge.events.envelope import Drift
from dingbridge.ingress.journal.drain import Drainer
from dingbridge.ingress.journal.folder import open_current
from dingbridge.ingress.journal.inspect import journal_status
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import Acknowledgement, NewCallback, Parked
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import FolderMetrics, JournalMetrics
from dingbridge.ingress.relay.status import RelayStatus

NOW = int(time.time() * 1000)


def entry(number, received_ms, via="http"):
    body = b"%d" % number
    return NewCallback(received_ms, "default", via, body, extract_facts(body), b"key-%d" % number)


@pytest.fixture
def registry():
    return CollectorRegistry()


async def started(folder, registry):
    journal = Journal(folder, Retention(3600, 3600), JournalMetrics(registry))
    await journal.start()
    return journal


async def test_the_last_callback_is_the_last_that_dingtalk_pushed_also_after_a_restart(tmp_path, registry):
    first = await started(tmp_path, registry)
    assert registry.get_sample_value("dingbridge_last_callback_timestamp_seconds") == 0
    await first.append(entry(1, NOW - 5000))
    await first.append(entry(1, NOW - 3000))  # known already, and a sign of life all the same
    await first.commit([entry(2, NOW - 1000, via="failed-list")])  # we asked for that one
    assert registry.get_sample_value("dingbridge_last_callback_timestamp_seconds") == (NOW - 3000) / 1000
    assert registry.get_sample_value("dingbridge_journal_writable") == 1
    await first.stop()
    later = CollectorRegistry()
    second = await started(tmp_path, later)
    assert later.get_sample_value("dingbridge_last_callback_timestamp_seconds") >= (NOW - 5000) / 1000
    await second.stop()


async def test_what_waits_is_parked_and_was_put_aside_shows(tmp_path, registry):
    metrics = FolderMetrics(registry)
    journal = await started(tmp_path, CollectorRegistry())
    await journal.commit([entry(n, NOW - 60_000) for n in range(3)])
    await journal.acknowledge(Acknowledgement(1, [Parked(1, "topic", "rights", 1)]))
    aside = tmp_path / "damaged-20260101T000000Z" / "journal.db"
    aside.parent.mkdir()
    aside.write_bytes(b"no database" * 1000)
    journal_status(tmp_path).show(metrics)

    def value(name, **labels):
        return registry.get_sample_value(f"dingbridge_{name}", labels)

    assert value("journal_waiting") == 2
    assert value("journal_oldest_waiting_seconds") == pytest.approx(time.time() - NOW / 1000 + 60, abs=30)
    assert value("parked", reason="rights") == 1
    assert (value("journal_damaged_folders"), value("journal_unreadable")) == (1, 0)
    await Drainer(journal).drain(aside)
    await journal.stop()
    journal_status(tmp_path).show(metrics)
    assert (value("journal_damaged_folders"), value("journal_unreadable")) == (1, 1)
    for folder in (tmp_path / "current", aside.parent):
        shutil.rmtree(folder)
    journal_status(tmp_path).show(metrics)
    assert value("parked", reason="rights") is None
    assert value("journal_damaged_folders") == 0


def numbered(records):
    return [(1, record) for record in records]


def test_kafka_is_connected_while_it_takes_records(registry):
    status = RelayStatus(registry)
    seen = []
    for turn in (
        lambda: None,
        lambda: status.turn("up", "well"),
        lambda: status.turn("stalled", "slow"),
        lambda: status.turn("up", "well"),
        lambda: status.turn("down", "gone"),
    ):
        turn()
        seen.append((status.state, registry.get_sample_value("dingbridge_kafka_connected")))
    assert seen == [("starting", 0), ("up", 1), ("stalled", 0), ("up", 1), ("down", 0)]


def test_dingtalks_delay_is_that_of_its_pushes_that_say_when_it_happened(registry):
    """Each callback counts once, however many people it names; what was fetched from a list does not."""

    def published(via, event_type="user_add_org", **payload):
        body = {"EventType": event_type, "CorpId": "c", "UserId": ["u1", "u2"], **payload}
        received = Received(1, "j", NOW, "default", via, orjson.dumps(body))
        report.published(numbered(to_records(received)))

    report = RelayStatus(registry)
    published("http", TimeStamp=str(NOW - 700))
    published("stream", TimeStamp=str(NOW - 20_000))
    published("http", TimeStamp=str(NOW + 5_000))  # its clock is ahead of ours
    published("http", "a_new_type", TimeStamp=str(NOW - 700))
    published("http")
    published("failed-list", TimeStamp=str(NOW - 86_400_000))
    published("http", TimeStamp=str(NOW - 700))

    def sample(suffix, **labels):
        return registry.get_sample_value(f"dingbridge_dingtalk_delay_seconds_{suffix}", labels)

    assert [sample("count", family=family) for family in ("contact", "other")] == [4, 1]
    assert sample("sum", family="contact") == pytest.approx(21.4)
    assert [sample("bucket", family="contact", le=le) for le in ("0.1", "1.0", "30.0")] == [1, 3, 4]


def test_drift_is_counted_by_callback_and_told_once_for_each_field(registry):
    def record(known=True, **fields):
        drift = tuple(Drift(kind, name) for kind, names in fields.items() for name in names)
        return Record("check_in", known, b"c", b"{}", (), "id", None, drift)

    report = RelayStatus(registry)
    with structlog.testing.capture_logs() as logs:
        report.published(numbered([record(type=["a", "b"], missing=["c"]), record(), record(type=["a"])]))
        report.published(numbered(record(type=[f"f{n}"]) for n in range(2_000)))
    name = "dingbridge_schema_drift_total"
    assert registry.get_sample_value(name, {"type": "check_in", "kind": "type"}) == 2_002
    assert registry.get_sample_value(name, {"type": "check_in", "kind": "missing"}) == 1
    assert registry.get_sample_value(name, {"type": "check_in", "kind": "unknown_field"}) is None
    told = [(log["kind"], log["field"]) for log in logs if log["event"] == "schema.drift"]
    assert told[:3] == [("type", "a"), ("type", "b"), ("missing", "c")]
    assert len(told) == len(set(told)) == 1_000


def test_pushes_of_another_company_are_kept_for_the_doctor_and_logged_once_each(registry):
    def pushed(named):
        body = orjson.dumps({"EventType": "org_change", "CorpId": named})
        return to_records(Received(1, "j", NOW, "hr", "http", body, corp_id="dingown"))

    report = RelayStatus(registry)
    assert report.as_json()["other_companies"] == {}
    with structlog.testing.capture_logs() as logs:
        for named in ("ding1", "ding1", *(f"ding{number}" for number in range(2, 1_200))):
            report.published(numbered(pushed(named)))
        report.published(numbered(pushed("dingown")))
    seen = {"count": 1_200, "named": "ding1199", "own": "dingown"}
    assert report.as_json()["other_companies"] == {"hr": seen}
    counted = registry.get_sample_value("dingbridge_unclassified_total", {"reason": "other-company"})
    assert counted == 1_200
    logged = [log["named"] for log in logs if log["event"] == "relay.other_company"]
    assert logged == [f"ding{number}" for number in range(1, 1_001)]


@pytest.mark.parametrize(("kind", "most"), [("contact", 450), ("approval", 800)])
def test_a_callback_takes_no_more_disk_than_operations_says(tmp_path, kind, most):
    def payload(number):
        contact = {
            "EventType": "user_modify_org",
            "TimeStamp": str(NOW + number),
            "UserId": [f"{number:016d}"],
            "CorpId": "ding0123456789abcdef0123",
            "OptStaffId": "0000017988409533",
        }
        approval = {
            "EventType": "bpms_instance_change",
            "type": "finish",
            "result": "agree",
            "title": "韩梅梅提交的请假申请",
            "processCode": f"PROC-{number:032X}",
            "processInstanceId": f"{number:032x}",
            "businessId": f"2026112502{number:08d}",
            "corpId": "ding0123456789abcdef0123",
            "createTime": NOW + number,
            "finishTime": NOW + number,
            "staffId": "0000017988409533",
            "url": f"https://aflow.example.com/dingtalk/mobile/homepage.htm?corpid=c&procInstId={number:032x}",
        }
        return json.dumps({"contact": contact, "approval": approval}[kind], ensure_ascii=False).encode()

    file = open_current(tmp_path)
    for begin in range(0, 4_000, 500):
        bodies = [payload(number) for number in range(begin, begin + 500)]
        facts = [(b, extract_facts(b)) for b in bodies]
        file.commit(
            [NewCallback(NOW, "default", "http", b, f, dedupe_key(f, "default", b)) for b, f in facts]
        )
    file.truncate_wal()
    assert file.path.stat().st_size / 4_000 <= most
    file.close()
