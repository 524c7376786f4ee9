"""PyPI's dingtalk-stream as it is, in a process of its own, since its folder has a package of our name.

Run by its path, isolated (``python -I``): the SDK's folder, a simulator's address, app key and secret, how
many clients, and what their handler shall do with the first events, a JSON list of ``raise``, ``hold`` or a
code; it answers all others with OK. Prints a JSON line for each event it is given.
"""

import asyncio
import json
import logging
import os
import sys

folder, base, app_key, app_secret, clients, first = sys.argv[1:]
sys.path.insert(0, folder)
os.environ["DINGTALK_OPENAPI_ENDPOINT"] = base  # read by the SDK as it is imported
os.environ["NO_PROXY"] = "*"

import dingtalk_stream  # type: ignore[import-not-found]  # noqa: E402

doings = json.loads(first)


class Handler(dingtalk_stream.EventHandler):  # type: ignore[misc]
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    async def process(self, event):  # type: ignore[no-untyped-def]
        headers = event.headers
        shown = {
            "client": self.number,
            "type": headers.event_type,
            "corp": headers.event_corp_id,
            "id": headers.event_id,
            "born": headers.event_born_time,
            "data": event.data,
        }
        print(json.dumps(shown), flush=True)
        doing = doings.pop(0) if doings else dingtalk_stream.AckMessage.STATUS_OK
        if doing == "hold":
            await asyncio.Event().wait()
        if doing == "raise":
            raise RuntimeError("as a handler may")
        return doing, "OK"


async def main() -> None:
    logging.disable(logging.CRITICAL)
    running = []
    for number in range(int(clients)):
        client = dingtalk_stream.DingTalkStreamClient(dingtalk_stream.Credential(app_key, app_secret))
        client.register_all_event_handler(Handler(number))
        running.append(client.start())
    await asyncio.gather(*running)


asyncio.run(main())
