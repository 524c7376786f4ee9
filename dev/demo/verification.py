"""What must be in Kafka and in the tables, compared with what is. Pure: no I/O, no clock.

``Verification`` takes the pushes that DingTalk saw answered ``success``, and the records as read from Kafka.
``table_differences`` takes the company as DingTalk has it, and the rows of the OA databases. Texts name ids
and fields, never values.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dingbridge.events import Event, NotAnEvent, Received, decode, to_records
from dingbridge.events.catalogue import UNCLASSIFIED, catalogue

APP: Final = "default"
APPROVAL: Final = "process-instance"


@dataclass(frozen=True, slots=True)
class Share:
    """One record that a callback must have become. ``topic`` is without its prefix."""

    topic: str
    key: str
    source: str
    id: str


@dataclass(frozen=True, slots=True)
class Expected:
    """A callback's records, and every single value that these must hold together."""

    shares: frozenset[Share]
    values: frozenset[str]
    subjects: frozenset[tuple[str, str]]
    """Kind (``user``, ``department``, ``process-instance``…) and id of each thing that it is about."""


@dataclass(slots=True)
class Subjects:
    """Ids by kind."""

    by_kind: dict[str, set[str]] = field(default_factory=dict)

    def add(self, subjects: frozenset[tuple[str, str]]) -> None:
        for kind, id_ in subjects:
            self.by_kind.setdefault(kind, set()).add(id_)

    def of(self, kind: str) -> set[str]:
        return self.by_kind.get(kind, set())


def expected(plaintext: bytes) -> Expected:
    """What a callback's plaintext must become. Its values are read from the plaintext itself, so that a
    record which lost some of them is noticed, whatever our normalising says. A callback without id and
    time has an id of the bridge's own making and would be taken for missing; the simulator pushes none."""
    received = Received(seq=1, journal="demo", received_ms=0, app=APP, via="http", body=plaintext)
    events = [decode(record.value) for record in to_records(received)]
    if any(event.data_bytes is not None for event in events):
        values = {plaintext.decode("utf-8", "replace")}
    else:
        values = _leaves({k: v for k, v in json.loads(plaintext).items() if k != "EventType"})
    return Expected(
        frozenset(_share(event) for event in events),
        frozenset(values),
        frozenset((kind, event.subject) for event in events if event.subject and (kind := _kind(event))),
    )


class Verification:
    """Answered pushes against records. Give it what is new, in any order; ask ``missing`` at any time."""

    def __init__(self) -> None:
        self._missing: dict[bytes, Expected] = {}
        self._answered: set[bytes] = set()
        self._found: dict[Share, frozenset[str]] = {}
        self._times: Counter[Share] = Counter()
        self._unsure = Subjects()
        self._sure = Subjects()
        self._owed: set[Share] = set()
        self.listed = Subjects()
        """Known by a listing alone, which has nobody's manager (docs/guide/address-sync.md)."""
        self.repeated_pushes = 0
        """Answered pushes that repeated an answered one, word for word."""
        self.unreadable = 0
        """Records that are no events of ours."""

    def push(self, plaintext: bytes, *, answered: bool) -> None:
        """A push that has come to its end: answered ``success``, or given up."""
        wanted = expected(plaintext)
        if not answered:
            self._unsure.add(wanted.subjects)
            return
        self._sure.add(wanted.subjects)
        self._owed |= wanted.shares
        if plaintext in self._answered:
            self.repeated_pushes += 1
            return
        self._answered.add(plaintext)
        self._missing[plaintext] = wanted

    def record(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """A record that is in Kafka; ``topic`` without its prefix."""
        try:
            event = decode(value or b"")
        except NotAnEvent:
            self.unreadable += 1
            return
        share = Share(topic, (key or b"").decode("utf-8", "replace"), event.source, event.id)
        self._times[share] += 1
        values = _values(event)
        # of several copies each must be whole
        self._found[share] = self._found.get(share, values) & values

    def resynced(self) -> None:
        """The consumers have asked DingTalk themselves: they know what the pushes given up until now were
        about, too, but for who is whose manager."""
        for kind, ids in self._unsure.by_kind.items():
            self.listed.by_kind.setdefault(kind, set()).update(ids)
            self._sure.by_kind.setdefault(kind, set()).update(ids)
        self._unsure = Subjects()

    def missing(self) -> list[str]:
        """One text for each answered callback that is not in Kafka, or not whole."""
        faults = []
        for plaintext, wanted in list(self._missing.items()):
            absent = wanted.shares - self._found.keys()
            if absent:
                share = min(absent, key=lambda s: s.id)
                faults.append(f"not in Kafka: topic {share.topic}, key {share.key}, id {share.id}")
                continue
            found = frozenset[str]().union(*(self._found[share] for share in wanted.shares))
            if lacking := wanted.values - found:
                share = min(wanted.shares, key=lambda s: s.id)
                faults.append(f"in Kafka without {len(lacking)} of its values: {share.topic}, id {share.id}")
                continue
            del self._missing[plaintext]
        return faults

    @property
    def events(self) -> int:
        """Different callbacks answered ``success``."""
        return len(self._answered)

    @property
    def records(self) -> int:
        """Records read, repeated ones too."""
        return self._times.total()

    @property
    def repeated_records(self) -> int:
        """Records that are in Kafka once more than they had to."""
        return self._times.total() - len(self._times)

    @property
    def unanswered_records(self) -> int:
        """Different records of callbacks that were never answered ``success``: kept, and the answer lost."""
        return len(self._times.keys() - self._owed)

    def sure(self, kind: str) -> set[str]:
        """Ids that an answered push named, and no push that was given up."""
        return self._sure.of(kind) - self._unsure.of(kind)

    def unsure(self, kind: str) -> set[str]:
        """Ids of what a push was about that was given up: the bridge cannot know of it."""
        return self._unsure.of(kind)


def lost_for_certain(missing: int, waiting: int | None, before: int) -> int:
    """How many are lost at least: of ``missing`` from Kafka, ``waiting`` may still be in the journal.

    Right if the three were taken in the order answers, journal, Kafka. ``waiting`` is None while it is not
    known; then the count ``before`` stays.
    """
    return before if waiting is None else max(0, missing - waiting)


# -- the tables


@dataclass(frozen=True, slots=True)
class Tables:
    """Rows of the OA databases, by id; of forms the number of fields."""

    users: Mapping[str, Mapping[str, Any]]
    memberships: Mapping[str, Mapping[int, bool]]
    """By userid: department and whether the user leads it."""
    departments: Mapping[str, Mapping[str, Any]]
    approvals: Mapping[str, Mapping[str, Any]]
    form_fields: Mapping[str, int]
    leave_ledger: Mapping[str, Mapping[str, Any]]


_USER_FIELDS: Final = (
    "unionid",
    "name",
    "mobile",
    "job_number",
    "title",
    "email",
    "work_place",
    "manager_userid",
)
_OUTCOMES: Final = {
    ("COMPLETED", "agree"): "approved",
    ("COMPLETED", "refuse"): "refused",
    ("TERMINATED", ""): "terminated",
}


def table_differences(state: Mapping[str, Any], tables: Tables, checked: Verification) -> list[str]:
    """Where the tables differ from ``state`` (the simulator's ``/_sim/state``), one text for each thing.

    Compared are users and departments that an answered push was about, and every approval that is over. If
    DingTalk refuses a user or department, its row is as last listed, and only must not be marked as gone. Who
    went without an event is not compared (``unreported``).
    """
    users = {user["userid"]: user for user in state["users"]}
    departments = {str(dept["dept_id"]): dept for dept in state["departments"]}
    faults = []
    refused, gone = refused_subjects(state, checked), unreported(state, checked)
    for userid in sorted(checked.sure("user") - gone["user"]):
        found = _user_faults(users.get(userid), userid, tables, checked.listed.of("user"))
        faults += _named(
            f"user {userid}", [f for f in found if userid not in refused["user"] or f == "left_at"]
        )
    for dept_id in sorted(checked.sure("department") - gone["department"]):
        row = tables.departments.get(dept_id)
        found = _department_faults(departments.get(dept_id), row)
        is_refused = dept_id in refused["department"]
        faults += _named(f"department {dept_id}", [f for f in found if not is_refused or f == "deleted_at"])
    return faults + _approval_differences(state["approvals"], tables, checked)


def refused_subjects(state: Mapping[str, Any], checked: Verification) -> dict[str, set[str]]:
    """By kind, the compared ids that DingTalk refuses: also users known by a listing alone, and those whose
    departments cannot be listed."""
    users, departments = set(state["refused"]["users"]), set(state["refused"]["departments"])
    users |= {
        user["userid"]
        for user in state["users"]
        if user["userid"] in checked.listed.of("user") and departments.issuperset(user["dept_id_list"])
    }
    return {
        "user": checked.sure("user") & users,
        "department": checked.sure("department").intersection(map(str, departments)),
    }


def unreported(state: Mapping[str, Any], checked: Verification) -> dict[str, set[str]]:
    """By kind, the ids that DingTalk has no more and whose going no push may have reported: the tables mark
    them after an hour (dingbridge/mirror/answers.py)."""
    return {
        "user": checked.listed.of("user") - {user["userid"] for user in state["users"]},
        "department": checked.listed.of("department")
        - {str(dept["dept_id"]) for dept in state["departments"]},
    }


def _user_faults(user: Mapping[str, Any] | None, userid: str, tables: Tables, listed: set[str]) -> list[str]:
    row = tables.users.get(userid)
    if user is None:
        # somebody who came and left between two looks never had a row
        return [] if row is None or row["left_at"] is not None else ["left, and has no left_at"]
    if row is None:
        return ["has no row"]
    faults = [name for name in _USER_FIELDS if row[name] != user.get(name)]
    if userid in listed and "manager_userid" in faults:
        faults.remove("manager_userid")
    if row["left_at"] is not None:
        faults.append("left_at")
    leads = {item["dept_id"]: item["leader"] for item in user["leader_in_dept"]}
    if dict(tables.memberships.get(userid, {})) != {d: leads[d] for d in user["dept_id_list"]}:
        faults.append("memberships")
    return faults


def _department_faults(dept: Mapping[str, Any] | None, row: Mapping[str, Any] | None) -> list[str]:
    if dept is None:
        return [] if row is None or row["deleted_at"] is not None else ["was removed, and has no deleted_at"]
    if row is None:
        return ["has no row"]
    faults = [name for name in ("name", "parent_id") if row[name] != dept.get(name)]
    if row["deleted_at"] is not None:
        faults.append("deleted_at")
    if json.loads(row["manager_userids"] or "[]") != dept["dept_manager_userid_list"]:
        faults.append("manager_userids")
    return faults


def _approval_differences(
    approvals: list[Mapping[str, Any]], tables: Tables, checked: Verification
) -> list[str]:
    unsure = checked.unsure(APPROVAL)
    over = {
        approval["process_instance_id"]: approval
        for approval in approvals
        if approval["status"] != "RUNNING" and approval["process_instance_id"] not in unsure
    }
    faults = []
    for id_, approval in sorted(over.items()):
        faults += _named(f"approval {id_}", _approval_faults(approval, tables.approvals.get(id_), tables))
    for id_ in sorted(tables.approvals.keys() - over.keys() - unsure):
        faults.append(f"approval {id_}: is archived, and not over")
    granted, doubted = _granted_leaves(approvals, unsure)
    for id_ in sorted(granted - tables.leave_ledger.keys() - doubted):
        faults.append(f"approval {id_}: a leave was granted, and the ledger does not have it")
    for id_ in sorted(tables.leave_ledger.keys() - granted - doubted):
        faults.append(f"approval {id_}: the ledger has a leave that was not granted")
    return faults


def _granted_leaves(approvals: list[Mapping[str, Any]], unsure: set[str]) -> tuple[set[str], set[str]]:
    """The leaves that are in force: approved, and changed or taken back by no approval that is approved. And
    which of all approvals hang together with one of ``unsure``, so that the bridge may see them otherwise."""
    main_of = {a["process_instance_id"]: a.get("mainProcessInstanceId") for a in approvals}

    def first(id_: str) -> str:
        while main := main_of.get(id_):
            id_ = main
        return id_

    agreed = [a for a in approvals if a["process_code"] == "PROC-LEAVE" and a["result"] == "agree"]
    granted = {a["process_instance_id"] for a in agreed if a["bizAction"] != "REVOKE"}
    firsts = {first(id_) for id_ in unsure}
    return (
        granted - {a.get("mainProcessInstanceId") for a in agreed},
        unsure | {id_ for id_ in main_of if first(id_) in firsts},
    )


def _approval_faults(approval: Mapping[str, Any], row: Mapping[str, Any] | None, tables: Tables) -> list[str]:
    if row is None:
        return ["is over, and not archived"]
    wanted = {
        "process_code": approval["process_code"],
        "title": approval["title"],
        "originator_userid": approval["originatorUserId"],
        "outcome": _OUTCOMES[approval["status"], approval["result"]],
        "document_state": "full",
    }
    faults = [name for name, value in wanted.items() if row[name] != value]
    if tables.form_fields.get(approval["process_instance_id"], 0) != len(approval["formComponentValues"]):
        faults.append("form values")
    return faults


def _named(what: str, faults: list[str]) -> list[str]:
    return [f"{what}: {', '.join(faults)}"] if faults else []


# -- events


def _share(event: Event) -> Share:
    return Share(event.event_type, event.partitionkey, event.source, event.id)


def _kind(event: Event) -> str | None:
    spec = catalogue.get(event.event_type) if event.event_type != UNCLASSIFIED else None
    return spec.subject.kind if spec is not None and spec.subject is not None else None


def _values(event: Event) -> frozenset[str]:
    if event.data_bytes is not None:
        return frozenset({event.data_bytes.decode("utf-8", "replace")})
    return frozenset(_leaves(event.data))


def _leaves(value: Any) -> set[str]:
    """Every single value in it, as text: ids may have become strings on the way, and times numbers."""
    if isinstance(value, dict):
        return set[str]().union(*map(_leaves, value.values()))
    if isinstance(value, list):
        return set[str]().union(*map(_leaves, value))
    return {str(value)}
