"""To-dos: created once, since DingTalk creates one for each sourceId (the request's id), and marked as
done."""

from dataclasses import dataclass

from dingbridge.consumers.outbound.requests.steps import Answer, Call, People, Wait, carried_out
from dingbridge.consumers.outbound.requests.tables import Request
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import AlreadyExists

_NOT_SHOWN = (
    "DingTalk has had a to-do of this id, and shows it no more: it was deleted, or done long ago. Send it "
    "under a new id if it is still to be done"
)


@dataclass(frozen=True, slots=True)
class Todos:
    """Looks at requests of one company, with ``client``. Both raise ``ApiError`` and ``Stop``."""

    client: DingTalkClient
    people: People
    now_ms: int
    settle_ms: int

    async def create(self, request: Request) -> Answer | Call:
        body = request.body
        people = await self.people.union_ids([body["creator"], *body["executors"]])
        creator = people[body["creator"]]

        async def found() -> Answer | None:
            card = await self.client.find_todo(request.request_id, person=creator)
            return None if card is None else Answer("done", ding_id=str(card["taskId"]))

        async def send() -> Answer | Wait:
            try:
                task_id = await self.client.create_todo(
                    source_id=request.request_id,
                    creator=creator,
                    executors=[people[own_id] for own_id in body["executors"]],
                    subject=body["subject"],
                    url=body["url"],
                    description=body.get("description") or "",
                    due_ms=body.get("dueTime"),
                )
            except AlreadyExists:
                if request.missing_for(self.settle_ms, self.now_ms):
                    return await found() or Answer("refused", words=_NOT_SHOWN)
                return await found() or Wait(missing=True)
            return Answer("done", ding_id=task_id)

        return (await found() if request.opened_ms is not None else None) or Call(send)

    async def finish(self, request: Request, target: Request | None) -> Call:
        """``target`` is the todo.desired that the request names. To finish a to-do twice changes nothing, so
        after an unknown outcome it is done again."""
        first, task_id = carried_out(target)
        own_id = first.body["creator"]
        creator = (await self.people.union_ids([own_id]))[own_id]

        async def send() -> Answer:
            await self.client.finish_todo(task_id, creator=creator)
            return Answer("done", ding_id=task_id)

        return Call(send)
