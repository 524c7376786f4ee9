"""Recorded callbacks, as records: what the bridge would publish for them."""

from pathlib import Path

import orjson

from dingbridge.events.envelope import Received, Record, to_records

RECEIVED_MS = 1_800_000_000_000
"""When recorded callbacks count as received, epoch ms: the same in every run."""


def recorded(path: Path) -> list[Record]:
    """The records of the callbacks in ``path``: a JSON file with one callback or a list of them, in
    DingTalk's spelling with ``EventType``, or a folder of such files, in the order of their names.

    Raises ``ValueError`` that names the file for what is no callback, ``OSError`` for what cannot be read.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"there is no recorded event in {path}: put a callback's JSON there, as *.json")
    bodies = [body for file in files for body in _callbacks(file)]
    records: list[Record] = []
    for number, (file, body) in enumerate(bodies, 1):
        made = to_records(Received(number, "recorded", RECEIVED_MS, "default", "http", body))
        for record in made:
            if record.fault is not None:
                raise ValueError(f"{file}: this is no callback of DingTalk ({record.fault})")
        records += made
    return records


def _callbacks(file: Path) -> list[tuple[Path, bytes]]:
    try:
        found = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{file} is no JSON ({error})") from error
    return [(file, orjson.dumps(callback)) for callback in (found if isinstance(found, list) else [found])]
