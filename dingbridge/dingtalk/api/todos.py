"""To-do tasks in people's DingTalk, by the new API. People are unionids here, which ``user`` returns."""

from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import quote

from dingbridge.dingtalk.api.calls import Calls, no_sense, objects
from dingbridge.dingtalk.api.fields import checked, text
from dingbridge.dingtalk.api.objects import Todo
from dingbridge.dingtalk.errors import AlreadyExists, ApiError, BadRequest, InvalidField, OutcomeUnknown

SUBJECT_MOST: Final = 1024
DESCRIPTION_MOST: Final = 4096
EXECUTORS_MOST: Final = 100

_PARAMETER_ERROR: Final = "todo.taskCreate.paramError"
_EXISTS: Final = "task exist"


class TodoCalls(Calls):
    """To-dos. The monthly quota counts them, reading included."""

    async def create_todo(
        self,
        *,
        source_id: str,
        creator: str,
        executors: Sequence[str],
        subject: str,
        url: str,
        description: str = "",
        due_ms: int | None = None,
    ) -> str:
        """Create a to-do; returns its task id (add-dingtalk-to-do-task).

        ``source_id`` is the app's own id: DingTalk creates one to-do of it, and for the next raises
        ``AlreadyExists``, so nobody gets it twice (``find_todo`` returns the task id). ``due_ms`` is epoch
        ms; ``url`` is what opens with it. Sent once: after ``OutcomeUnknown`` it may be there.
        """
        api = "todo/tasks"
        if not 1 <= len(executors) <= EXECUTORS_MOST:
            raise InvalidField(
                api, "executorIds", f"has {len(executors)} entries; DingTalk takes 1 to {EXECUTORS_MOST}"
            )
        body: dict[str, Any] = {
            "sourceId": checked(api, "sourceId", text(128, 1), source_id),
            "subject": checked(api, "subject", text(SUBJECT_MOST, 1), subject),
            "description": checked(api, "description", text(DESCRIPTION_MOST), description),
            "creatorId": creator,
            "executorIds": list(executors),
            "detailUrl": {"appUrl": url, "pcUrl": url},
        }
        if due_ms is not None:
            body["dueTime"] = due_ms
        try:
            reply = await self._new_call(
                api, "POST", _tasks(creator), body, query={"operatorId": creator}, once=True
            )
        except BadRequest as error:
            if error.name != _PARAMETER_ERROR or _EXISTS not in error.errmsg:
                raise
            exists = _exists(error)
        else:
            task_id = reply.get("id")
            if not isinstance(task_id, str) or not task_id:
                raise no_sense(api, "succeeds without an id", OutcomeUnknown)
            return task_id
        raise exists

    async def finish_todo(self, task_id: str, *, creator: str) -> None:
        """Mark a to-do of this app as done (updates-dingtalk-to-do-tasks)."""
        path = f"{_tasks(creator)}/{quote(task_id, safe='')}"
        await self._new_call(
            "todo/tasks/update", "PUT", path, {"done": True}, query={"operatorId": creator}, once=True
        )

    async def find_todo(self, source_id: str, *, person: str) -> Todo | None:
        """The to-do with this ``source_id`` among those of ``person`` (creator or executor), or ``None``: its
        ``taskId``, ``sourceId``, ``isDone`` and more (query-the-to-do-list-of-enterprise-users).

        DingTalk lists done ones for 180 days.
        """
        api = "todo/tasks/query"
        for done in (False, True):
            token: str | None = None
            while token != "":
                body = {"isDone": done, **({} if token is None else {"nextToken": token})}
                page = await self._new_call(
                    api, "POST", f"/v1.0/todo/users/{quote(person, safe='')}/org/tasks/query", body
                )
                for card in objects(api, page.get("todoCards")):
                    if card.get("sourceId") == source_id:
                        return cast(Todo, card)
                following = str(page.get("nextToken") or "")
                if following and following == token:
                    raise no_sense(api, "says that there is more, but its nextToken does not advance")
                token = following
        return None


def _tasks(person: str) -> str:
    return f"/v1.0/todo/users/{quote(person, safe='')}/tasks"


def _exists(error: ApiError) -> AlreadyExists:
    return AlreadyExists(
        f"DingTalk {error.api}: there is a to-do of this sourceId already. Nothing is to be done.",
        api=error.api,
        errmsg=error.errmsg,
        name=error.name,
    )
