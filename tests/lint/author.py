"""A consumer as its author's type checker sees it: test_typed_handlers.py runs mypy on this file. An error is
expected in each line that ends in ``# E: <words of it>``, and in no other."""

from dataclasses import dataclass

import dingbridge
from dingbridge import Consumer, Context, Event, Failure, Transaction, on
from dingbridge.generated.payloads import OrgDeptCreate, UserAddOrg, UserLeaveOrg

print(dingbridge.Consumerr)  # E: has no attribute "Consumerr"


@dataclass
class Person:
    name: str


class Payroll(Consumer[Person]):
    name = "payroll"
    topics = ("org_dept_create",)
    not_retryable = (KeyError, ZeroDivisionError)
    auto_offset_reset = "latest"

    async def prepare(self, event: Event, ctx: Context) -> Person:
        return Person(event.subject or "")

    @on(UserAddOrg)
    async def joined(self, event: Event[UserAddOrg], tx: Transaction, prepared: Person) -> None:
        users: list[str] = event.data["userId"]
        print(event.data["userld"])  # E: TypedDict "UserAddOrg" has no key "userld"
        print(event.data["timeStamp"].upper())  # E: "int" has no attribute "upper"
        print(users, prepared.nmae)  # E: "Person" has no attribute "nmae"
        self.note(event)

    @on(UserAddOrg)  # E: Argument 1 to "__call__" of "Handles" has incompatible type
    async def mistaken(self, event: Event[OrgDeptCreate], tx: Transaction, prepared: Person) -> None: ...

    @on(UserLeaveOrg)
    @on(UserAddOrg)
    async def moved(
        self, event: Event[UserLeaveOrg] | Event[UserAddOrg], tx: Transaction, prepared: Person
    ) -> None: ...

    async def look(self, event: Event[UserAddOrg], ctx: Context) -> int | None:
        user = await ctx.dingtalk.user(event.data["userId"][0])
        print(user["nmae"])  # E: TypedDict "User" has no key "nmae"
        print(user["name"], [dept_id + 1 for dept_id in user["dept_id_list"]])
        approval = await ctx.dingtalk.approval("pi-1")
        print(approval["formComponentValues"][0]["vlaue"])  # E: TypedDict "FormValue" has no key "vlaue"
        async for member in ctx.dingtalk.department_users(1):
            print(member["job_number"] + 1)  # E: Unsupported operand types
        return user["hired_date"]

    @on(UserAddOrg, prepare=look)
    async def looked(self, event: Event[UserAddOrg], tx: Transaction, number: int | None) -> None: ...

    @on(UserAddOrg, prepare=look)  # E: Argument 1 to "__call__" of "Handles" has incompatible type
    async def of_text(self, event: Event[UserAddOrg], tx: Transaction, number: str) -> None: ...

    @on(OrgDeptCreate, prepare=look)  # E: Argument "prepare" to "on" has incompatible type
    async def of_another(self, event: Event, tx: Transaction, number: int | None) -> None: ...

    @on(UserLeaveOrg, prepare=None)
    async def left(self, event: Event[UserLeaveOrg], tx: Transaction, prepared: None) -> None: ...

    @on("a_type_of_next_month")
    async def unknown(self, event: Event, tx: Transaction, prepared: Person) -> None:
        print(event.data["whatever"])

    @on("user_add_org", prepare=look)  # by its name, as before there were classes: nothing is compared
    async def named(self, event: Event[UserAddOrg], tx: Transaction, number: int | None) -> None: ...

    @on(dict)  # E: Argument 1 to "__call__" of "Handles" has incompatible type
    async def no_event(self, event: Event[UserAddOrg], tx: Transaction, prepared: Person) -> None: ...

    async def handle(self, event: Event, tx: Transaction, prepared: Person) -> None:
        print(event.data.get("deptId"))

    async def dead_lettered(self, event: Event | None, failure: Failure) -> None:
        print(failure.reason, failure.excpetion)  # E: "Failure" has no attribute "excpetion"

    def note(self, event: Event) -> None: ...


class Ledger(Consumer[Person]):
    name = "ledger"
    topics = ("user_add_org",)

    async def prepare(self, event: Event, ctx: Context) -> str:  # E: incompatible with return type
        return ""

    async def handle(self, event: Event, tx: Transaction, prepared: int) -> None:  # E: with supertype
        print(prepared)
