"""A simulated company's life, and what a bridge without faults makes of it."""

import copy
from dataclasses import replace
from typing import Any

from dev.demo.verification import Tables, Verification
from dingbridge.events import Received, Record, to_records
from dingbridge.simulator.company.platform import Platform


class Life:
    """Events of a company, their records, and the tables that they end in."""

    def __init__(self, actions: int = 150) -> None:
        self.platform = Platform(seed=7, users=30, departments=8)
        events = [e for _ in range(actions) for e in self.platform.act_at_random()]
        # one that is still running, whatever else has happened
        self.plaintexts = [e.plaintext() for e in events + self.platform.act("start_approval")]
        self.records = [record for n, text in enumerate(self.plaintexts) for record in published(n, text)]

    def state(self) -> dict[str, Any]:
        """As ``/_sim/state`` has it."""
        company, approvals = self.platform.company, self.platform.approvals
        return copy.deepcopy(
            {
                "departments": [company.department_result(d) for d in company.departments.values()],
                "users": [company.user_result(u) for u in company.users.values()],
                "refused": {"users": [], "departments": []},
                "approvals": [
                    {
                        "process_instance_id": a.instance_id,
                        "process_code": a.process_code,
                        **approvals.result(a),
                    }
                    for a in approvals
                ],
            }
        )

    def checked(self) -> Verification:
        """Everything answered, everything in Kafka."""
        checked = Verification()
        for text in self.plaintexts:
            checked.push(text, answered=True)
        for record in self.records:
            put(checked, record)
        return checked


def published(seq: int, plaintext: bytes) -> list[Record]:
    """What the publisher sends of one journal row."""
    return to_records(Received(seq + 1, "0123456789abcdef", 1_795_574_000_000, "default", "http", plaintext))


def put(checked: Verification, record: Record) -> None:
    checked.record(record.event_type or "unclassified", record.key, record.value)


def tables_of(state: dict[str, Any]) -> Tables:
    """The rows that are right for this state, leavers aside."""
    manager = {d["dept_id"]: d["dept_manager_userid_list"] for d in state["departments"]}
    over = [a for a in state["approvals"] if a["status"] != "RUNNING"]
    names = ("unionid", "name", "mobile", "job_number", "title", "email", "work_place", "manager_userid")
    leaves = [a for a in over if a["process_code"] == "PROC-LEAVE" and a["result"] == "agree"]
    upon = {a.get("mainProcessInstanceId") for a in leaves}
    outcomes = {"agree": "approved", "refuse": "refused", "": "terminated"}
    return Tables(
        users={u["userid"]: {n: u.get(n) for n in names} | {"left_at": None} for u in state["users"]},
        memberships={
            u["userid"]: {d: u["userid"] in manager[d] for d in u["dept_id_list"]} for u in state["users"]
        },
        departments={
            str(d["dept_id"]): {
                "name": d["name"],
                "parent_id": d.get("parent_id"),
                "manager_userids": str(manager[d["dept_id"]]).replace("'", '"'),
                "deleted_at": None,
            }
            for d in state["departments"]
        },
        approvals={
            a["process_instance_id"]: {
                "process_code": a["process_code"],
                "title": a["title"],
                "originator_userid": a["originatorUserId"],
                "outcome": outcomes[a["result"]],
                "document_state": "full",
            }
            for a in over
        },
        form_fields={a["process_instance_id"]: len(a["formComponentValues"]) for a in over},
        leave_ledger={
            a["process_instance_id"]: {}
            for a in leaves
            if a["bizAction"] != "REVOKE" and a["process_instance_id"] not in upon
        },
    )


def changed(tables: Tables, table: str, key: str, **values: Any) -> Tables:
    """``tables`` with other values in one row."""
    rows = copy.deepcopy(dict(getattr(tables, table)))
    rows[key].update(values)
    return replace(tables, **{table: rows})


def without(tables: Tables, table: str, key: str) -> Tables:
    """``tables`` without one row."""
    return replace(tables, **{table: {k: v for k, v in getattr(tables, table).items() if k != key}})
