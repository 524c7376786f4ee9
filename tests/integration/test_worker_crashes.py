"""Effects once: whatever the steps between which a worker is killed, its tables end as if it never was.

``worker_crash.py`` is the worker that is killed.
"""

import asyncio
import json
import secrets
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge import open_database
from dingbridge.worker.delivery import REPLAY_HEADER
from dingbridge.worker.store import inbox
from tests.integration.worker_crash import Files, events
from tests.support.sizes import sized
from tests.unit.worker.support import effects, metadata

Script = list[tuple[str, str]]

scripts = st.lists(
    st.tuples(st.sampled_from(["ok", "ok", "fail", "reject", "garbage"]), st.sampled_from(["u1", "u2"])),
    min_size=1,
    max_size=6,
)
deaths = st.lists(st.integers(1, 70), max_size=5)


class Mortal:
    """Forks lives of the worker, each with its own point of death."""

    def __init__(self, folder: Path, postgres_url: str | None) -> None:
        self._folder, self._postgres_url = folder, postgres_url
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.worker_crash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def world(self) -> "World":
        """An empty database and no record read yet; what was before is gone."""
        folder = self._folder / secrets.token_hex(4)
        folder.mkdir()
        if self._postgres_url is None:
            return World(self, folder, f"sqlite:///{folder}/test.db")
        asyncio.run(_empty(self._postgres_url))
        return World(self, folder, self._postgres_url)

    def live(self, spec: dict[str, Any]) -> int:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(spec) + "\n")
        self._zygote.stdin.flush()
        return int(self._zygote.stdout.readline())

    def close(self) -> None:
        self._zygote.communicate()


class World:
    """What outlives a worker: its database, and Kafka in files."""

    def __init__(self, mortal: Mortal, folder: Path, url: str) -> None:
        self._mortal, self.url = mortal, url
        self.files = Files(folder)

    def run(self, script: Script, prepares: bool, deaths: list[int], *, fixed: bool = False) -> int:
        """Live and die as told, then to the end; how many lives ended by SIGKILL."""
        return sum(self.live(script, prepares, at, fixed=fixed) for at in [*deaths, None])

    def live(self, script: Script, prepares: bool, kill_at: int | None, *, fixed: bool = False) -> bool:
        """One life, until all is done or ``kill_at`` steps are; whether it ended by SIGKILL."""
        status = self._mortal.live(
            {
                "folder": str(self.files.folder),
                "database": self.url,
                "script": script,
                "prepares": prepares,
                "kill_at": kill_at,
                "fixed": fixed,
            }
        )
        assert status == 0 or (status == -9 and kill_at is not None)
        return status == -9

    def tables(self) -> dict[str, Any]:
        """Effects by key, and the inbox, but for what is random or a time."""
        return asyncio.run(self._tables())

    async def _tables(self) -> dict[str, Any]:
        database = open_database(self.url)
        try:
            reader = database.reader()
            by_key = defaultdict(list)
            for row in await reader.execute(select(effects).order_by(effects.c.n)):
                by_key[row.subject].append(row.event_id)
            rows = await reader.execute(select(inbox.inbox.c.hash))
            return {"effects": dict(by_key), "inbox": {row.hash for row in rows}}
        finally:
            await database.close()

    def letters(self) -> dict[bytes | None, list[int]]:
        """The offsets of the records that were given up, by key and in order, doubled ones once."""
        found: dict[bytes | None, list[int]] = defaultdict(list)
        for letter in self.files.letters():
            offset = int(dict(letter.headers)["dingbridge-dlq-offset"])
            if offset not in found[letter.key]:
                found[letter.key].append(offset)
        return dict(found)

    def replay(self) -> None:
        """The dead letters into the inbox, as they stand there, doubled ones too: in one run."""
        self.files.copy([(letter, [(REPLAY_HEADER, b"r1")]) for letter in self.files.letters()])


async def _empty(url: str) -> None:
    database = open_database(url)
    try:
        async with database.transaction() as tx:
            for made in (metadata, inbox.metadata):
                await tx.connection.run_sync(made.create_all)
                for table in made.sorted_tables:
                    await tx.execute(table.delete())
    finally:
        await database.close()


@pytest.fixture
def mortal(database_url: str, tmp_path: Path) -> Iterator[Mortal]:
    found = Mortal(tmp_path, database_url if database_url.startswith("postgresql") else None)
    yield found
    found.close()


often = settings(
    max_examples=sized(5, 30),
    deadline=None,
    database=None,
    phases=[Phase.generate],  # the failing script is short as it is, and shrinking it would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@often
@given(script=scripts, deaths=deaths, prepares=st.booleans())
def test_any_sequence_of_crashes_ends_in_the_tables_of_a_run_without(
    mortal: Mortal, script: Script, deaths: list[int], prepares: bool
) -> None:
    calm = mortal.world()
    calm.run(script, prepares, [])
    expected = calm.tables()
    rough = mortal.world()
    rough.run(script, prepares, deaths)
    assert rough.tables() == expected
    assert rough.letters() == calm.letters()
    assert rough.files.offsets() == {"t": len(script)}


@pytest.mark.parametrize("database_url", sized(["postgres"], ["postgres", "sqlite"]), indirect=True)
def test_every_step_of_one_life_is_a_point_of_death(mortal: Mortal) -> None:
    """The others try points by chance; here is each, so that none of them is one that never comes."""
    script: Script = [("reject", "u2"), ("ok", "u2"), ("ok", "u1")]
    calm = mortal.world()
    calm.run(script, True, [])
    expected, letters = calm.tables(), calm.letters()
    assert letters == {events(script)[0].key: [0]}
    kill_at = killed = 1
    while killed:
        rough = mortal.world()
        killed = rough.run(script, True, [kill_at])
        assert rough.tables() == expected, kill_at
        assert rough.letters() == letters, kill_at
        kill_at += 1
    assert kill_at > 20


@pytest.mark.parametrize("database_url", sized(["sqlite"], ["postgres", "sqlite"]), indirect=True)
def test_what_was_given_up_is_applied_once_though_a_mended_handler_meets_it_again(mortal: Mortal) -> None:
    script: Script = [("reject", "u2"), ("ok", "u2")]
    everything = sorted(f"{kind}{offset}" for offset, (kind, _) in enumerate(script))
    kill_at, killed, doubled = 1, True, 0
    while killed:
        world = mortal.world()
        killed = world.live(script, True, kill_at)
        world.live(script, True, None, fixed=True)
        applied = [name for names in world.tables()["effects"].values() for name in names]
        given_up = [f"{script[at][0]}{at}" for offsets in world.letters().values() for at in offsets]
        assert sorted(applied + given_up) == everything, kill_at
        doubled += len(world.files.letters()) > len(given_up)
        world.replay()
        world.live(script, True, None, fixed=True)
        applied = [name for names in world.tables()["effects"].values() for name in names]
        assert sorted(applied) == everything, kill_at
        kill_at += 1
    assert kill_at > 15
    assert doubled, "a death between a letter and the note that it is sent"
