"""The golden files: a callback as DingTalk sends it, and all that becomes of it, side by side.

``before`` is the callback's JSON (sent without blanks, UTF-8), or ``before_text`` / ``before_base64``
where it is none. ``after`` is one entry for each record; a record's ``value`` is the JSON in Kafka.
``back`` is what ``to_dingtalk`` gives for each record.

``python -m tests.unit.events.golden`` writes ``after`` and ``back`` anew, for whoever changes the
contract on purpose: read the difference, since readers of the topics will.
"""

import json
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dingbridge.events import Received, decode, to_dingtalk, to_records

FOLDER = Path(__file__).parent / "golden"


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
        return json.dumps(self.document["before"], ensure_ascii=False, separators=(",", ":")).encode()

    def outcome(self) -> dict[str, Any]:
        received = Received(
            seq=42,
            journal="0f3c9a5e7b1d4c62",
            received_ms=1731000000456,
            app="default",
            via="http",
            body=self.body,
        )
        records = to_records(received)
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
        return {"after": after, "back": back}


def load_all() -> list[Golden]:
    return [Golden(path, json.loads(path.read_text())) for path in sorted(FOLDER.glob("*.json"))]


def main() -> None:
    for golden in load_all():
        document = {k: v for k, v in golden.document.items() if k not in ("after", "back")} | golden.outcome()
        golden.path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    main()
