"""Programs from their own jars: finding Java, and fetching the jars once with Maven.

Kafka's are in ``.cache/kafka/<version>`` of the clone (``DINGBRIDGE_CACHE`` moves the cache); Maven also
keeps what it downloads in its own local repository, as its settings say. Starting the broker is
``brokers.py``.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dingbridge.errors import ServerStartError
from dingbridge.simulator.kafka.processes import GuardedProcess, tail
from dingbridge.simulator.kafka.progress import Progress, megabytes

KAFKA_VERSION = "4.4.0"
JAVA_AT_LEAST = 17
FETCH_WITHIN_S = 900.0


@dataclass(frozen=True)
class Jars:
    """What a pom depends on. ``what`` and ``version`` are for messages and for the folder in the cache,
    ``download_bytes`` is about what Maven downloads for it with an empty local repository."""

    what: str
    version: str
    pom: Path
    download_bytes: int

    def __str__(self) -> str:
        return f"{self.what} {self.version}"

    @property
    def folder(self) -> Path:
        return cache_dir() / self.what.lower().replace(" ", "-") / self.version

    @property
    def present(self) -> bool:
        return self.folder.is_dir()  # appears whole, by renaming, or not at all


KAFKA = Jars("Kafka", KAFKA_VERSION, Path(__file__).with_name("pom.xml"), 65_000_000)

_BREW = ("/opt/homebrew/opt/openjdk/bin", "/usr/local/opt/openjdk/bin")
"""Homebrew's Java is not on the PATH unless its user puts it there."""

_INSTALL_JAVA = "Debian/Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk"
_INSTALL_MAVEN = "Debian/Ubuntu: apt-get install maven; macOS: brew install maven"


def java() -> str:
    """Path of a Java that can run Kafka. Raises ``ServerStartError`` with the remedy."""
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates += [found] if (found := shutil.which("java")) else []
    candidates += [str(Path(folder) / "java") for folder in _BREW]
    seen: list[int] = []
    for candidate in candidates:
        version = _java_version(candidate)
        if version is None:
            continue
        if version >= JAVA_AT_LEAST:
            return candidate
        seen.append(version)
    if seen:
        raise ServerStartError(
            f"Java {max(seen)} is too old, Kafka needs {JAVA_AT_LEAST} or newer "
            f"({_INSTALL_JAVA}; or set JAVA_HOME)"
        )
    raise ServerStartError(f"Java {JAVA_AT_LEAST} or newer is missing ({_INSTALL_JAVA})")


def classes_file(jars: Path, java: str) -> Path:
    """Where the classes of ``jars`` are kept as this build of Java has loaded them (its Class Data Sharing);
    any other passes the file over."""
    build = subprocess.run([java, "-version"], capture_output=True, timeout=30, check=False).stderr
    return jars.with_name(f"{jars.name}-{zlib.crc32(build):08x}.jsa")


def _java_version(path: str) -> int | None:
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)(?:\.(\d+))?', done.stderr + done.stdout)
    if done.returncode or not found:
        return None  # macOS has a java that only asks for one to be installed
    major = int(found[1])
    return int(found[2] or 0) if major == 1 else major  # "1.8" is Java 8


def cache_dir() -> Path:
    """Where downloads are kept: ``DINGBRIDGE_CACHE``, else ``.cache`` of the clone, else the user's cache."""
    if override := os.environ.get("DINGBRIDGE_CACHE"):
        return Path(override).expanduser().resolve()
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():
        return root / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "dingbridge"


def check_jars(jars: Jars = KAFKA) -> None:
    """Whether this machine could run them. Raises ``ServerStartError``, one line a fault."""
    faults = []
    try:
        java()
    except ServerStartError as error:
        faults.append(str(error))
    if not jars.present and shutil.which("mvn") is None:
        faults.append(f"Maven is missing, which fetches {jars.what}'s jars ({_INSTALL_MAVEN})")
    if faults:
        raise ServerStartError("\n".join(faults))


def fetch_jars(progress: Progress | None = None, jars: Jars = KAFKA) -> Path:
    """The folder with these jars, fetched if absent. Several processes may ask at once: one fetches.

    Raises ``ServerStartError`` if Maven or Java is missing, or Maven fails or takes over 15 minutes.
    """
    target = jars.folder
    if jars.present:
        return target
    check_jars(jars)
    progress = progress or Progress()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / ".lock", jars, progress):
        if not jars.present:
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
                _maven(jars, Path(scratch), progress)
                (Path(scratch) / "jars").rename(target)
    return target


def _maven(jars: Jars, scratch: Path, progress: Progress) -> None:
    """Fetches into ``scratch/jars``."""
    shutil.copy(jars.pom, scratch / "pom.xml")
    log = scratch / "maven.log"
    folder = scratch / "jars"
    command = ["mvn", "-B", "-C", "-f", str(scratch / "pom.xml"), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
    progress.line(f"{jars}: fetching its jars with Maven, about {megabytes(jars.download_bytes)}, once")
    started = time.monotonic()
    maven = GuardedProcess(command, log=log, env=_maven_environment(), scratch=scratch)
    try:
        while maven.running:
            if time.monotonic() - started > FETCH_WITHIN_S:
                raise ServerStartError(
                    f"Maven is still not done after {FETCH_WITHIN_S / 60:g} minutes; is a proxy or a mirror "
                    "needed in ~/.m2/settings.xml? What it has fetched so far is kept: try again"
                )
            with suppress(TimeoutError):
                maven.wait(0.5)
            count, size = _downloaded(log)
            progress.update(f"{jars}: {count} files, {megabytes(size)}")
    finally:
        maven.kill()
    found = list(folder.glob("*"))
    if maven.poll() or not found:
        reasons = [line for line in tail(log, 200).splitlines() if line.startswith("[ERROR]")]
        raise ServerStartError(
            f"Maven could not fetch {jars.what}'s jars; is the network there, or a proxy or mirror needed in "
            "~/.m2/settings.xml?\n" + "\n".join(f"  {line[:300]}" for line in reasons[:3])
        )
    size = sum(jar.stat().st_size for jar in found)
    took_s = time.monotonic() - started
    progress.line(f"{jars}: {len(found)} jars, {megabytes(size)}, in {took_s:.0f} s")


def _maven_environment() -> dict[str, str]:
    """Maven's own environment, with the Java that we found, unless that is a version manager's shim."""
    home = Path(java()).resolve().parents[1]
    return {**os.environ, "JAVA_HOME": str(home)} if (home / "release").is_file() else dict(os.environ)


def _downloaded(log: Path) -> tuple[int, float]:
    """How many files Maven says that it has fetched, and their size in bytes."""
    units = {"B": 1.0, "kB": 1e3, "MB": 1e6}
    sizes = re.findall(
        r"^(?:\[INFO\] )?Downloaded.*\(([\d.]+) (B|kB|MB)", log.read_text("utf-8", "replace"), re.M
    )
    return len(sizes), sum(float(number) * units[unit] for number, unit in sizes)


@contextmanager
def _locked(path: Path, jars: Jars, progress: Progress) -> Iterator[None]:
    """Holds a lock between processes; it is released however its holder ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress.line(f"{jars}: another process is fetching its jars; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":  # by scripts/install, beside pip and so before any package is there
    with suppress(ServerStartError):  # what starts a broker fetches again, and says what is missing
        fetch_jars()
