"""The golden files: a callback as DingTalk sends it, and the records made from it, side by side.

``before`` is the callback's JSON (sent without blanks, UTF-8), or ``before_text`` / ``before_base64``
where it is none. ``after`` is one entry for each record; a record's ``value`` is the JSON in Kafka.
``back`` is what ``to_dingtalk`` gives for each record.

Those in ``captured/`` are what somebody published, under ``<its source>-<year>-<number>``. Names, ids and
titles are invented, in the original's form; ``filled`` lists what the source left out and invented values
fill. Beside ``before`` there are ``headers`` and ``data`` of a Stream frame, and ``item`` of the failed list;
``compare`` says what consumers are to compare, since the event names nobody.

``python -m tests.unit.events.golden`` writes ``after`` and ``back`` anew, for whoever changes the
contract on purpose: read the difference, since readers of the topics will.
"""

import json
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dingbridge.events import Received, decode, to_dingtalk, to_records
from dingbridge.ingress.recovery.convert import convert_item
from dingbridge.ingress.stream.frames import read
from dingbridge.schema.drift import drift_in

FOLDER = Path(__file__).parent / "golden"


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Golden:
    path: Path
    document: dict[str, Any]

    @property
    def body(self) -> bytes:
        if "before_base64" in self.document:
            return b64decode(self.document["before_base64"])
        if "before_text" in self.document:
            text: str = self.document["before_text"]
            return text.encode()
        if "headers" in self.document:
            return read(self.frame()).body
        if "item" in self.document:
            return convert_item(self.document["item"]).body or b""
        return compact(self.document["before"]).encode()

    @property
    def via(self) -> str:
        ways = {"headers": "stream", "item": "failed-list"}
        return next((way for name, way in ways.items() if name in self.document), "http")

    def frame(self, message_id: str = "m1", time_ms: int = 1731000000400) -> str:
        """One push of it, as Stream sends it."""
        headers = {
            "topic": "*",
            "messageId": message_id,
            "contentType": "application/json",
            "time": str(time_ms),
            **self.document["headers"],
            "eventUnifiedAppId": "app-0001",
        }
        data = compact(self.document["data"])
        return compact({"specVersion": "1.0", "type": "EVENT", "headers": headers, "data": data})

    def outcome(self) -> dict[str, Any]:
        received = Received(
            seq=42,
            journal="0f3c9a5e7b1d4c62",
            received_ms=1731000000456,
            app="default",
            via=self.via,
            body=self.body,
        )
        records = to_records(received, drift_in)
        after = [
            {
                "topic": record.event_type or "unclassified",
                "known": record.known,
                "fault": record.fault,
                "key": record.key.decode(),
                "headers": {name: value.decode() for name, value in record.headers},
                "value": json.loads(record.value),
            }
            for record in records
        ]
        back = [to_dingtalk(decode(record.value)) for record in records if record.fault is None]
        found = {"after": after, "back": back}
        if self.path.parent != FOLDER:
            found["drift"] = [f"{one.kind} {one.field}" for one in records[0].drift]
            found["compare"] = [record.resync for record in records if record.resync]
        return found


def load_all() -> list[Golden]:
    return _load(FOLDER)


def load_captured() -> list[Golden]:
    return _load(FOLDER / "captured")


def _load(folder: Path) -> list[Golden]:
    return [Golden(path, json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def main() -> None:
    for golden in load_all() + load_captured():
        made = golden.outcome()
        document = {k: v for k, v in golden.document.items() if k not in made} | made
        golden.path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    main()
