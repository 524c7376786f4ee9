"""The machine that the ingress runs on: its power goes, its disk fails, and its supervisor starts it again.

The real ``Ingress`` has its journal on a ``PowerDisk``; whatever ends it, the next start is on the image of
that disk. Its edges are in ``edges.py``.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import apsw

from dingbridge.errors import BridgeError
from dingbridge.ingress.app import Ingress
from dingbridge.ingress.errors import JournalDamaged, JournalError
from dingbridge.ingress.journal.folder import CURRENT, JOURNAL_FILE, put_aside
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from tests.faults.power import PowerDisk, powered
from tests.lives.bridge.dingtalk import DingTalk
from tests.lives.bridge.edges import Listener, OnMachine
from tests.lives.bridge.kafka import Cluster
from tests.lives.mortal import Mortal
from tests.lives.world import CORP

RESTART_S = 3.0
PAGE_BYTES = 4096

_APPS = f"""
[apps.flow]
mode = "stream"
app_key = "dingflow"
app_secret = "secret-of-flow"
corp_id = "{CORP}"
"""


class Machine:
    """``disk`` is that of the process which runs now. ``faults`` gets a line for each end that has no reason;
    ``hurt`` is true from when a page was damaged or a sync failed. ``slow_s``: how long a commit takes.
    ``dies_in_start``: at this write of the next process the power goes; 0: at none."""

    def __init__(self, seed: int, folder: Path, cluster: Cluster, faults: list[str]) -> None:
        self.dice = Random(f"machine {seed}")
        self._folder, self.cluster, self.faults = folder, cluster, faults
        self.dingtalk = DingTalk(seed, self)
        self.root = folder / "0"
        self.root.mkdir(mode=0o700)
        self.disk: PowerDisk
        self.process: Mortal | None = None
        self.ingress: Any = None
        self.starts = 0
        self.refuses: Callable[[str], None] | None = None
        self.slow_s = 0.0
        self.hurt = False
        self.damaged_at: list[float] = []
        self.pause_s = RESTART_S
        self.dies_in_start = 0
        self.meanwhile: list[Callable[[Path], None]] = []
        """What is done to the folder before the next start."""
        self._supervisor: asyncio.Task[None] | None = None
        self._dead: list[Mortal] = []
        self._files: list[apsw.Connection] = []
        (folder / "apps.toml").write_text(_APPS)
        self._settings = IngressSettings.load(
            data_dir=folder,
            journal_allow_unsafe=True,
            journal_retention_hours=0.02,
            dingtalk_apps_file=folder / "apps.toml",
            recovery_every_minutes=2,
            recovery_after_outage_s=20,
            **{name.lower(): value for name, value in SAMPLE_CREDENTIALS.items()},
        )

    def commit_s(self) -> float:
        return self.slow_s or self.dice.random() * 0.004

    def listener(self) -> tuple[Mortal, Listener] | None:
        """Where callbacks can be pushed to."""
        if self.process is None or not self.process.alive or self.ingress is None:
            return None
        listener: Listener = self.ingress._public
        return (self.process, listener) if listener.is_open else None

    def start(self) -> None:
        apsw.connection_hooks.append(self._files.append)
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise())

    async def stop(self) -> None:
        """For good, and in order."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        apsw.connection_hooks.remove(self._files.append)
        for process in self._dead:
            await process.release()
        for file in self._files:
            with suppress(apsw.Error):
                file.close(True)

    # What ends a process

    def dies(self, *, after_writes: int = 0, share: float | None = None) -> None:
        """Now, or at that write: the power goes, and ``share`` of what was not synced is left; with 1 only
        the process ends."""
        if self.process is not None and self.process.alive:
            self.disk.share = share
            if after_writes:
                self.disk.dies_at = self.disk.calls + after_writes
            else:
                self.disk.power_off()

    def ends(self) -> None:
        """In order, as by SIGTERM."""
        if self.process is not None and self.process.alive and self._terminate is not None:
            self._terminate()

    def next_start(self, act: Callable[[Path], None]) -> None:
        """Before it, do that to the folder."""
        self.meanwhile.append(act)

    def damage(self, root: Path) -> None:
        """Overwrite a page of the journal's file."""
        path = root / CURRENT / JOURNAL_FILE
        if not path.exists() or put_aside(root):
            return  # a second damage is refused: that is a matter of other tests
        with suppress(apsw.Error), closing(apsw.Connection(str(path))) as db:  # the WAL would mend the page
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(self.dice.randrange(path.stat().st_size // PAGE_BYTES) * PAGE_BYTES)
            file.write(self.dice.randbytes(PAGE_BYTES))
        self.damaged_at.append(asyncio.get_running_loop().time())
        self.hurt = True

    def move_aside(self, root: Path) -> None:
        """By hand."""
        if (root / CURRENT / JOURNAL_FILE).exists():
            (root / CURRENT).rename(root / f"damaged-by-hand-{self.starts}")

    # Its supervisor

    async def _supervise(self) -> None:
        while True:
            self.starts += 1
            image = self._folder / str(self.starts)
            with powered(self.root, image, self.dice) as disk:
                self.disk = disk
                if self.dies_in_start:
                    disk.dies_at, self.dies_in_start = self.dies_in_start, 0
                await self._one_process(disk)
            self.root = image
            for act in self.meanwhile:
                act(image)
            self.meanwhile.clear()
            pause_s, self.pause_s = self.pause_s, RESTART_S
            await asyncio.sleep(pause_s)

    async def _one_process(self, disk: PowerDisk) -> None:
        self.process = process = OnMachine(f"start {self.starts}", self.dice)
        process.commit_s = self.commit_s
        self._dead.append(process)
        self._terminate: Callable[[], None] | None = None
        asyncio.get_running_loop().add_signal_handler = self._handles  # type: ignore

        def image() -> None:
            if not disk.dead:
                disk.share = 1.0
                disk.power_off()

        process.on_death.append(image)
        disk.on_death, disk.asked = process.kill, self._asked
        running = process.spawn(self._run())
        died = asyncio.get_running_loop().create_task(process.died.wait())
        await asyncio.wait([running, died], return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if process.alive:
            self._judge(None if running.cancelled() else running.exception())
            process.kill()

    def _asked(self, what: str) -> None:
        if self.refuses is not None:
            self.refuses(what)

    def _handles(self, number: int, handler: Callable[[], None]) -> None:
        self._terminate = handler

    def _judge(self, error: BaseException | None) -> None:
        if error is None:
            return
        if isinstance(error, JournalDamaged) and self.hurt:
            return
        if isinstance(error, JournalError) and "is not drained yet" in str(error) and self.hurt:
            self.next_start(self.move_aside)  # as the words say
            return
        if isinstance(error, JournalError) and self.refuses is not None:
            return  # nothing can be opened on such a disk; the supervisor tries again
        self.faults.append(f"a process ended by itself: {error!r}")

    async def _run(self) -> None:
        self.ingress = None
        self.ingress = Ingress(self._settings.model_copy(update={"journal_dir": self.root}))
        await self.ingress.run()

    def drained(self) -> bool:
        """Nothing waits for Kafka, nothing is parked but what cannot be read, and no folder is put aside."""
        file = self.ingress._journal._file if self.ingress is not None else None
        if file is None or put_aside(self.root):
            return False
        try:
            waiting, _ = file.waiting()
            return not waiting and not [one for one in file.parked_groups() if one.reason != "damaged"]
        except (apsw.Error, BridgeError):
            return False
