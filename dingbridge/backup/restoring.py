"""Restores a back-up: databases first, each with a mark, then their groups' offsets, then the marks are
removed; then the other stores. Each step can be repeated, so after a kill the same command goes on.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from dingbridge.backup.databases import opened, put_back, refusal, url_for
from dingbridge.backup.groups import Target, cluster_id, target_of, with_members
from dingbridge.backup.manifest import DatabaseCopy, Manifest
from dingbridge.backup.stores import stores
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.events.control import resync_requested
from dingbridge.kafka.group_offsets import committed_offsets, set_offsets
from dingbridge.kafka.inbox import write_to_inbox
from dingbridge.kafka.topic_policy import RESYNC, inbox_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import ConsumerSettings
from dingbridge.settings.apps import companies
from dingbridge.worker.registry import installed_consumers
from dingbridge.worker.store import restored
from dingbridge.worker.store.inbox import registered

Say = Callable[[str, str], None]


class Refused(BridgeError):
    """Something stands in the way of a restore; nothing was changed."""

    exit_code = 3


class Restore:
    """One back-up, to be put back into this environment; ``only``: of these consumers and stores, empty:
    all."""

    def __init__(self, settings: ConsumerSettings, folder: Path, only: Collection[str] = ()) -> None:
        """Raises ``BadBackup``, and ``SettingsError`` where ``only`` names what is not in it."""
        self._settings, self._folder, self._only = settings, folder, only
        self.manifest = Manifest.read(folder)
        self._copies = [one for one in self.manifest.databases if not only or {*one.consumers} & {*only}]
        self._stores = [name for name in self.manifest.stores if not only or name in only]
        known = {*(name for one in self.manifest.databases for name in one.consumers), *self.manifest.stores}
        if strangers := sorted({*only} - known):
            raise SettingsError(
                [f"--only: the back-up has no {', '.join(strangers)}; it has {', '.join(sorted(known))}"]
            )
        self._urls = {one.file: url_for(settings, one) for one in self._copies}

    @property
    def consumers(self) -> list[str]:
        """Those whose database is restored."""
        return [name for one in self._copies for name in one.consumers]

    @property
    def stores(self) -> list[str]:
        return self._stores

    async def check(self) -> None:
        """Raises ``Refused`` with all that is in the way: processes that run, places that are taken."""
        faults = [
            f"the group {name} has members: stop its consumer, everywhere; one that was killed leaves in 10 s"
            for name in await with_members(self._settings, self.consumers)
        ]
        prefixes = (self._settings.topic_prefix, self._settings.control_prefix)
        if prefixes != self.manifest.prefixes:
            wanted = " and ".join(self.manifest.prefixes)
            faults.append(
                f"TOPIC_PREFIX and CONTROL_PREFIX were {wanted}; set them so: others are other topics"
            )
        for copy in self._copies:
            if words := await refusal(self._urls[copy.file], copy, self.manifest):
                faults.append(words)
        for name, store in stores(self._stores).items():
            faults += await asyncio.to_thread(store.refusals, self._folder / name)
        if missing := sorted({*self._stores} - stores(self._stores).keys()):
            faults.append(f"nothing here can restore {', '.join(missing)}: install that, or use --only")
        if faults:
            raise Refused("nothing was restored:" + "".join(f"\n  - {fault}" for fault in faults))

    async def run(self, say: Say) -> None:
        """Restore. ``say`` is called with what is done, a name and words. Raises ``BridgeError``; call it
        again then."""
        same = self.manifest.cluster == await cluster_id(self._settings)
        until_ms = self.manifest.at_ms if same else None
        for copy in self._copies:
            await put_back(self._urls[copy.file], copy, self._folder, self.manifest)
            say("database", f"{copy.file} is back, of {', '.join(copy.consumers)}")
            for consumer in copy.consumers:
                await self._set_back(consumer, copy, until_ms, say)
        if not self._only:
            await self._without_database(until_ms, say)
        for name, store in stores(self._stores).items():
            for line in filter(None, await asyncio.to_thread(store.restore, self._folder / name)):
                say(name, line)

    async def _without_database(self, until_ms: int | None, say: Say) -> None:
        """Groups of consumers without a database keep their offsets, unless Kafka has deleted them."""
        kept = {name for one in self.manifest.databases for name in one.consumers}
        for group in sorted(self.manifest.groups.keys() - kept):
            words = "goes on where it is"
            if not await committed_offsets(self._settings, group):
                then = self.manifest.groups[group]
                target = await target_of(self._settings, group, then, (), until_ms)
                await set_offsets(self._settings, group, target.offsets)
                words = "had no offsets any more, and has those of the back-up"
            say("group", f"{group} has no database: it {words}")

    async def _set_back(self, consumer: str, copy: DatabaseCopy, until_ms: int | None, say: Say) -> None:
        """Set the group of ``consumer`` back, and let it start."""
        async with opened(self._urls[copy.file]) as database:
            row = (await restored.marks(database)).get(consumer)
            if row is None or row.ends is not None:
                return  # an earlier run has done it
            then = self.manifest.groups.get(consumer, ())
            topics = [row.topic for row in await registered(database.reader(), consumer)]
            target = await target_of(self._settings, consumer, then, topics, until_ms)
            if target.offsets:
                await set_offsets(self._settings, consumer, target.offsets)
            if target.lost:
                await self._lost(consumer, target, say)
            await restored.set_back(database, consumer, target.ends, lost=bool(target.lost))
        say("group", f"{consumer} is set back: {_still_to_read(target)} record(s) to be read again")

    async def _lost(self, consumer: str, target: Target, say: Say) -> None:
        for words in target.lost:
            say("missing", f"{consumer}: {words}")
        found = (one.consumer for one in installed_consumers() if one.name == consumer)
        if not any(cls is not None and RESYNC in cls.control_topics for cls in found):
            say("missing", f"{consumer} must learn otherwise what it missed: it reads no resync requests")
            return
        await ensure_topics(self._settings, [inbox_topic(self._settings, consumer)])  # none in another Kafka
        now_ms = round(time.time() * 1000)
        apps = companies(self._settings).of_app
        for app, corp_id in (apps or {self._settings.dingtalk_app_name: None}).items():
            request = resync_requested(
                id=f"restore/{self.manifest.id}", app=app, corp_id=corp_id, now_ms=now_ms,
                since_ms=self.manifest.at_ms, part="all", reason="restored, and events since are deleted",
            )  # fmt: skip
            await write_to_inbox(self._settings, consumer, request)
        say("resync", f"{consumer} is asked to compare all with DingTalk when it starts")


def _still_to_read(target: Target) -> int:
    return sum(
        target.ends[partition.topic][str(partition.partition)] - offset
        for partition, offset in target.offsets.items()
    )


def in_words(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
