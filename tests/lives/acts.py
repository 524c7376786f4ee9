"""What may happen in a life, each by its name: to people, approvals and departments, at the OA, to our
processes, and between us and DingTalk. Whom it happens to is drawn when it happens, so a life stays one when
steps of it are left out."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dingbridge.simulator.errors import ActionError

if TYPE_CHECKING:
    from tests.lives.life import Life

Act = Callable[["Life", Random], None]
Part = Literal["contacts", "approvals", "oa", "trouble", "cruel"]


class Happening(NamedTuple):
    """``weight`` among all that may happen in a life that has its ``part``."""

    part: Part
    weight: int
    act: Act


ACTS: dict[str, Happening] = {}

TEXTS = ("title", "remark", "work_place")
USER = "v2/user/get"
DAY_S = 86_400.0
INSTANCE = "GET /v1.0/workflow/processInstances"
WRITES = tuple(
    f"v2/{kind}/{verb}" for kind in ("user", "department") for verb in ("create", "update", "delete")
)


def happens(part: Part, weight: int) -> Callable[[Act], Act]:
    def note(act: Act) -> Act:
        ACTS[act.__name__] = Happening(part, weight, act)
        return act

    return note


def _somebody(life: "Life", dice: Random) -> str:
    """Anybody; half of the time one whom the OA has made, if there is one."""
    people = [user.userid for user in life.world.company.users.values()]
    ours = [userid for userid in people if userid in life.world.made]
    if not people:
        raise ActionError("nobody is left")
    return dice.choice(ours if ours and dice.random() < 0.5 else people)


def _department(life: "Life", dice: Random) -> int:
    below = [d.dept_id for d in life.world.company.departments.values() if d.parent is not None]
    if not below:
        raise ActionError("no department is left")
    return int(dice.choice(below))


# People and departments


@happens("contacts", 6)
def hire(life: "Life", dice: Random) -> None:
    life.world.act("hire", count=1)


@happens("contacts", 5)
def leave(life: "Life", dice: Random) -> None:
    life.world.act("leave", userid=_somebody(life, dice))


@happens("contacts", 4)
def move(life: "Life", dice: Random) -> None:
    life.world.act("move", userid=_somebody(life, dice))


@happens("contacts", 2)
def rename(life: "Life", dice: Random) -> None:
    life.world.act("rename", userid=_somebody(life, dice), name=f"改名{dice.randrange(10**6)}")


@happens("contacts", 9)
def edit(life: "Life", dice: Random) -> None:
    text = f"人{life.number()}"
    life.world.act("edit", userid=_somebody(life, dice), **{dice.choice(TEXTS): text})


@happens("contacts", 3)
def come_back(life: "Life", dice: Random) -> None:
    former = list(life.world.company.former)
    if former:
        life.world.act("come_back", userid=dice.choice(former))


@happens("contacts", 4)
def rehire_the_number(life: "Life", dice: Random) -> None:
    """Somebody goes, and somebody else comes with the number."""
    userid = _somebody(life, dice)
    mobile = life.world.company.users[userid].mobile
    life.world.act("leave", userid=userid)
    hired = life.world.act("hire", count=1, follow_up=False)
    new = _named(hired[0].payload)
    life.later(dice.choice((0.0, 5.0)), lambda: life.world.act("edit", userid=new, mobile=mobile))


def _named(payload: dict[str, Any]) -> str:
    users = (
        payload.get("UserId")
        or payload.get("userId")
        or payload.get("UserIdList")
        or payload.get("userIdList")
    )
    return str(users[0] if isinstance(users, list) else users)


@happens("contacts", 2)
def create_department(life: "Life", dice: Random) -> None:
    life.world.act("create_department")


@happens("contacts", 2)
def rename_department(life: "Life", dice: Random) -> None:
    life.world.act("rename_department", dept_id=_department(life, dice))


@happens("contacts", 1)
def move_department(life: "Life", dice: Random) -> None:
    life.world.act("move_department")


@happens("contacts", 1)
def remove_department(life: "Life", dice: Random) -> None:
    life.world.act("remove_department", dept_id=_department(life, dice))


@happens("contacts", 1)
def lead(life: "Life", dice: Random) -> None:
    life.world.act("lead", dept_id=_department(life, dice))


@happens("contacts", 1)
def report_to(life: "Life", dice: Random) -> None:
    life.world.act("report_to", userid=_somebody(life, dice))


@happens("contacts", 2)
def give_role(life: "Life", dice: Random) -> None:
    life.world.act(dice.choice(("give_role", "take_role", "rename_role")))


# Approvals


@happens("approvals", 14)
def start_approval(life: "Life", dice: Random) -> None:
    userid = _somebody(life, dice)
    events = life.world.act("start_approval", userid=userid, process_code="PROC-LEAVE")
    if dice.random() < 0.7:
        instance_id = next(e.payload["processInstanceId"] for e in events)
        how = dice.choice(("approve", "approve", "approve", "refuse", "revoke"))
        life.later(dice.choice((1.0, 30.0)), lambda: life.world.act(how, process_instance_id=instance_id))


@happens("approvals", 6)
def approve(life: "Life", dice: Random) -> None:
    life.world.act("approve")


@happens("approvals", 1)
def redirect(life: "Life", dice: Random) -> None:
    life.world.act(dice.choice(("redirect", "comment")))


@happens("approvals", 9)
def change_an_approved_one(life: "Life", dice: Random) -> None:
    events = life.world.act(dice.choice(("modify_approved", "revoke_approved")))
    instance_id = next(e.payload["processInstanceId"] for e in events)
    life.later(dice.choice((2.0, 90.0)), lambda: life.world.act("approve", process_instance_id=instance_id))


@happens("approvals", 1)
def delete_approval(life: "Life", dice: Random) -> None:
    free = [a for a in life.world.simulator.platform.approvals if a.main is None and not a.attached]
    if free:
        life.world.act("delete_approval", process_instance_id=dice.choice(free).instance_id)


# The OA


@happens("oa", 7)
def oa_hires(life: "Life", dice: Random) -> None:
    number = life.number()
    life.world.say(f"E{number}", "user", **_person(life, dice, number))


def _person(life: "Life", dice: Random, number: int) -> dict[str, Any]:
    departments = [one for one, wanted in life.world.wanted.items() if wanted.kind == "department"]
    return {
        "name": f"员工{number}",
        "mobile": f"139{number:08}",
        "departments": [dice.choice([*departments, "root"])],
        "title": f"职{life.number()}",
        "remark": f"备{life.number()}",
        "workPlace": "杭州",
    }


@happens("oa", 5)
def oa_hires_and_the_reply_is_lost(life: "Life", dice: Random) -> None:
    """And a person changes meanwhile what was made."""
    number = life.number()
    life.fault({"api": "v2/user/create", "kind": "cut", "done": True, "times": 1})
    life.world.say(f"E{number}", "user", **_person(life, dice, number))
    text = f"人{life.number()}"
    for delay_s in (8.0, 12.0, 20.0):
        life.later(delay_s, lambda: life.world.act("edit", userid=f"E{number}", title=text))


@happens("oa", 6)
def oa_changes(life: "Life", dice: Random) -> None:
    here = [one for one, wanted in life.world.wanted.items() if wanted.kind == "user"]
    if here:
        own_id = dice.choice(here)
        number = int(own_id[1:])
        life.world.say(own_id, "user", **_person(life, dice, number))


@happens("oa", 4)
def oa_lets_go(life: "Life", dice: Random) -> None:
    here = [one for one, wanted in life.world.wanted.items() if not wanted.absent]
    if here:
        own_id = dice.choice(here)
        life.world.say(own_id, life.world.wanted[own_id].kind, absent=True)


@happens("oa", 3)
def oa_makes_a_department(life: "Life", dice: Random) -> None:
    number = life.number()
    life.world.say(f"D{number}", "department", name=f"部门{number}", parent="root")


@happens("oa", 4)
def oa_repeats(life: "Life", dice: Random) -> None:
    if life.world.wanted:
        life.world.repeat(dice.choice(list(life.world.wanted)), dice.randrange(100))


# Our processes, and what is between us and DingTalk


@happens("trouble", 6)
def crash(life: "Life", dice: Random) -> None:
    dice.choice(life.processes).crash_in(dice.randrange(1, 60))


@happens("trouble", 2)
def dingtalk_is_away(life: "Life", dice: Random) -> None:
    life.away(dice.choice((5.0, 120.0, 900.0)))


@happens("trouble", 0)  # only where a life is to have one
def dingtalk_is_away_for_a_day(life: "Life", dice: Random) -> None:
    life.away(DAY_S)


@happens("trouble", 3)
def somebody_is_refused(life: "Life", dice: Random) -> None:
    userid = _somebody(life, dice)
    life.refuse(USER, {"userid": userid}, dice.choice((30.0, 300.0, 1500.0)))


@happens("trouble", 1)
def an_approval_is_refused(life: "Life", dice: Random) -> None:
    running = list(life.world.simulator.platform.approvals.running)
    if running:
        match = {"processInstanceId": dice.choice(running)}
        life.refuse(INSTANCE, match, dice.choice((30.0, 300.0, 1500.0)))


@happens("trouble", 4)
def a_reply_is_lost(life: "Life", dice: Random) -> None:
    life.fault({"api": dice.choice(WRITES), "kind": "cut", "done": True, "times": 1})


@happens("trouble", 2)
def a_call_is_not_taken(life: "Life", dice: Random) -> None:
    kind: dict[str, Any] = dice.choice(
        (
            {"kind": "errcode", "errcode": 90018},
            {"kind": "errcode", "errcode": -1},
            {"kind": "http", "status": 502},
        )
    )
    life.fault(
        {"api": dice.choice((*WRITES, USER, "v2/department/get")), "times": dice.choice((1, 3)), **kind}
    )


@happens("trouble", 2)
def everything_is_compared(life: "Life", dice: Random) -> None:
    life.resync()


@happens("contacts", 1)
def a_listing_is_refused(life: "Life", dice: Random) -> None:
    """And everything is compared meanwhile."""
    api = dice.choice(("v2/user/list", "user/listid", "v2/department/listsub"))
    match = {"dept_id": str(_department(life, dice))}
    life.refuse(api, match, dice.choice((60.0, 600.0)), errcode=50004)
    life.resync()


@happens("trouble", 2)
def nothing_happens(life: "Life", dice: Random) -> None:
    """For long enough that all is told."""


def sleep_of(name: str, dice: Random) -> float:
    """How long after the step before it comes, in s."""
    if name == "nothing_happens":
        return 1200.0
    return dice.choice((0.0, 0.1, 1.0, 5.0, 20.0, 120.0, 700.0))
