"""Events of the forward consumer's tests, and a system's declaration."""

from typing import Any

import orjson

from dingbridge.consumers.forward.settings import System
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import Event, decode

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def event(
    event_type: str = "user_modify_org",
    event_id: str = "e1",
    *,
    app: str = "default",
    received_ms: int = 1700000000500,
    **fields: Any,
) -> Event:
    """The first event of a callback in DingTalk's old form."""
    fields = fields or {"UserId": ["u1"]}
    body = {
        "EventType": event_type,
        "eventId": event_id,
        "CorpId": "dingcorp1",
        "TimeStamp": "1700000000000",
        **fields,
    }
    received = Received(
        seq=1, journal="j1", received_ms=received_ms, app=app, via="http", body=orjson.dumps(body)
    )
    return decode(to_records(received)[0].value)


def system(**values: Any) -> System:
    return System(
        **{
            "url": "http://127.0.0.1:9/hook",
            "types": ["user_modify_org"],
            "secrets": ["SYSTEM_A_SECRET"],
            **values,
        }
    )
