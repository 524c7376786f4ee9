"""Makes a back-up beside running processes. The groups' offsets are read first: a database that is copied
later has the effects of all events before them. It may also have the effects of some later events, which its
inbox table skips when they are read again.
"""

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from dingbridge.backup.databases import databases, save
from dingbridge.backup.groups import cluster_id, committed
from dingbridge.backup.manifest import NAME, Manifest, digests
from dingbridge.backup.sqlite import to_disk
from dingbridge.backup.stores import stores
from dingbridge.errors import BridgeError
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.registry import installed_consumers

NOT_IN_IT = (
    "Kafka's records: topics are as safe as their copies on the brokers",
    "attachments of approvals (ARCHIVE_DIR): copy the folder after this, its files never change",
    "DINGTALK_APPS_FILE, OUTBOUND_OWNERS, FORWARD_FILE, ACTIONS_MODULE, the environment: keep them where you "
    "keep secrets and configuration",
    "the console's console-users.toml and console-audit.jsonl: copy them; its index is made again from Kafka",
    "the count of this month's API calls, unless it is in a PostgreSQL database that is copied",
)


async def back_up(settings: ConsumerSettings, folder: Path, say: Callable[[str, str], None]) -> list[str]:
    """Make a back-up in ``folder``, which is new or empty. ``say`` is called with what is done, a name and
    words. Returns what is to be done by hand, in words; none mostly.

    Raises ``BridgeError``; the folder is no back-up then.
    """
    await asyncio.to_thread(_make, folder)
    begun, found = datetime.now(UTC), await databases(settings)
    names = {name for database in found for name in database.consumers}
    names |= {one.name for one in installed_consumers() if one.consumer and not one.consumer.uses_database}
    groups = {name: at for name, at in (await committed(settings, sorted(names))).items() if at}
    say("offsets", f"of {', '.join(groups) or 'no group: none has committed anything'}")
    copies, by_hand = [], []
    for database in found:
        copy, words = await save(database, folder)
        copies.append(copy)
        say("database", f"{copy.file}, of {', '.join(copy.consumers)}")
        if words:
            by_hand.append(f"{folder / copy.file} is to be made by hand. {words}")
    kept = []
    for name, store in stores().items():
        if lines := await asyncio.to_thread(store.save, folder / name):
            kept.append(name)
        for line in lines:
            say(name, line)
    if not (copies or kept):
        raise BridgeError(
            "nothing is here to be backed up: no database of a consumer that has run, no journal; set "
            "DATA_DIR, DATABASE_URL and JOURNAL_DIR as the processes have them"
        )
    manifest = Manifest(
        id=secrets.token_hex(8),
        version=version("dingbridge"),
        at=begun,
        cluster=await cluster_id(settings),
        prefixes=(settings.topic_prefix, settings.control_prefix),
        groups=groups,
        databases=copies,
        stores=kept,
        files=dict(await asyncio.to_thread(digests, folder)),
    )
    await asyncio.to_thread(_finish, manifest, folder)
    say("finished", str(folder / NAME))
    return by_hand


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BridgeError(f"{folder} is not empty: a back-up begins in a new folder")
        folder.chmod(0o700)
    except OSError as error:
        raise BridgeError(f"{folder} cannot be made ({error.strerror})") from error


def _finish(manifest: Manifest, folder: Path) -> None:
    """Write the manifest, when all else is on the disk."""
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        to_disk(path)
    manifest.write(folder)
