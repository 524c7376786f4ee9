"""To-do tasks, as the Open API's newer host makes, changes and lists them.

Pages: add-dingtalk-to-do-task, updates-dingtalk-to-do-tasks, query-the-to-do-list-of-enterprise-users. People
are named by union ids. Nobody acts on a to-do by himself here, and there is no event of one.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.company.actions.base import Written
from dingbridge.simulator.company.company import Company
from dingbridge.simulator.errors import NewerError

TASKS: Final = "/v1.0/todo/users/{unionId}/tasks"
TASK: Final = TASKS + "/{taskId}"
QUERY: Final = "/v1.0/todo/users/{unionId}/org/tasks/query"
_TEXTS: Final = {"subject": 1024, "description": 4096}
_MOST_PEOPLE: Final = 100
_PAGE: Final = 20
_LISTED: Final = (
    "subject", "dueTime", "detailUrl", "priority", "createdTime", "modifiedTime", "creatorId", "sourceId",
    "bizTag",
)  # fmt: skip
_CHANGEABLE: Final = ("subject", "description", "dueTime", "executorIds", "participantIds")


class Todos:
    """The to-dos of one app. ``now_ms`` gives epoch ms."""

    def __init__(self, company: Company, now_ms: Callable[[], int]) -> None:
        self._company = company
        self._now_ms = now_ms
        self.all: dict[str, dict[str, Any]] = {}

    def calls(self) -> dict[str, Callable[[Call], Written]]:
        """The calls that write, by path."""
        return {TASKS: self._create, TASK: self._update}

    def _create(self, call: Call) -> Written:
        body, error = call.body, "todo.taskCreate.paramError"
        creator = body.get("creatorId") or body.get("unionId")
        self._check(body, error)
        if not body.get("subject") or not isinstance(body.get("detailUrl"), dict):
            raise NewerError(error, "subject, detailUrl: missing")
        source_id = str(body.get("sourceId") or "")
        if source_id and any(task["sourceId"] == source_id for task in self.all.values()):
            raise NewerError(error, f"task existed sourceId is {source_id}")
        at_ms = self._now_ms()
        task_id = f"task{self._company.rng.getrandbits(96):024x}"
        names = (*_CHANGEABLE, "detailUrl", "priority", "isOnlyShowExecutor")
        given = {name: body[name] for name in names if name in body}
        ids = {"id": task_id, "sourceId": source_id or task_id, "creatorId": creator, "modifierId": creator}
        times = {"createdTime": at_ms, "modifiedTime": at_ms, "startTime": at_ms, "finishTime": None}
        self.all[task_id] = given | ids | times | {"done": False, "bizTag": "oa_app"}
        return Written(dict(self.all[task_id]), [], task_id)

    def _update(self, call: Call) -> Written:
        body, error = call.body, "todo.taskUpdate.paramError"
        task = self.all.get(str(body.get("taskId")))
        if task is None:
            raise NewerError(error, "task not exist")
        self._check(body, error)
        given = {name: body[name] for name in _CHANGEABLE if name in body}
        given |= {"done": call.flag("done")} if "done" in body else {}
        changed = any(task.get(name) != value for name, value in given.items())
        task |= given | {"modifiedTime": self._now_ms()}
        if given.get("done"):
            task["finishTime"] = task["modifiedTime"]
        return Written({"result": True}, [], task["id"], changed)

    def _check(self, body: Mapping[str, Any], error: str) -> None:
        named = [body.get(name) for name in ("unionId", "creatorId", "operatorId")]
        if not all(name is None or self._knows(name) for name in named):
            raise NewerError(error, error)
        for name, most in _TEXTS.items():
            if not isinstance(body.get(name, ""), str) or len(body.get(name, "")) > most:
                raise NewerError(error, f"{name} is oversize")
        for name, words in (("executorIds", "executors"), ("participantIds", "participants")):
            people = body.get(name, [])
            if not isinstance(people, list) or len(people) > _MOST_PEOPLE:
                raise NewerError(error, f"{words} is oversize")
            if not all(map(self._knows, people)):
                raise NewerError(error, error)
        if not isinstance(body.get("dueTime", 0), int):
            raise NewerError(error, "dueTime is invalid")

    def _knows(self, unionid: Any) -> bool:
        return self._company.users.holding("unionid", str(unionid)) is not None

    def query(self, call: Call) -> Answer:
        """Those of a person who made them or is to do them; with ``isDone``, only these."""
        union_id, first = call.body.get("unionId"), call.number("nextToken", 0)
        found = [
            {"taskId": task["id"], "isDone": task["done"]} | {n: task[n] for n in _LISTED if n in task}
            for task in self.all.values()
            if union_id in (task["creatorId"], *task.get("executorIds", []), *task.get("participantIds", []))
            and ("isDone" not in call.body or call.flag("isDone") == task["done"])
        ]
        more = {"nextToken": str(first + _PAGE)} if first + _PAGE < len(found) else {}
        return {"todoCards": found[first : first + _PAGE]} | more
