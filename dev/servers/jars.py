"""Apache Kafka from its own jars: finding Java, and fetching the jars once with Maven.

The jars are in ``.cache/kafka/<version>`` of the clone (``DINGBRIDGE_CACHE`` moves the cache); Maven also
keeps what it downloads in its own local repository, as its settings say. Starting the broker is
``kafka_jars.py``.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.servers.processes import tail
from dev.servers.progress import Progress, megabytes
from dingbridge.errors import ServerStartError

KAFKA_VERSION = "4.4.0"
DOWNLOAD_BYTES = 65_000_000
"""What Maven downloads with an empty local repository, about: Kafka's jars and its own plugin."""

JAVA_AT_LEAST = 17
FETCH_WITHIN_S = 900.0
POM = Path(__file__).with_name("pom.xml")

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


def jars_dir() -> Path:
    return cache_dir() / "kafka" / KAFKA_VERSION


def jars_present() -> bool:
    return jars_dir().is_dir()  # appears whole, by renaming, or not at all


def check_jars() -> None:
    """Whether this machine could run Kafka from its jars. Raises ``ServerStartError``, one line a fault."""
    faults = []
    try:
        java()
    except ServerStartError as error:
        faults.append(str(error))
    if not jars_present() and shutil.which("mvn") is None:
        faults.append(f"Maven is missing, which fetches Kafka's jars ({_INSTALL_MAVEN})")
    if faults:
        raise ServerStartError("\n".join(faults))


def fetch_jars(progress: Progress | None = None) -> Path:
    """The folder with Kafka's jars, fetched if absent. Several processes may ask at once: one fetches.

    Raises ``ServerStartError`` if Maven or Java is missing, or Maven fails or takes over 15 minutes.
    """
    target = jars_dir()
    if jars_present():
        return target
    check_jars()
    progress = progress or Progress()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / ".lock", progress):
        if not jars_present():
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
                _maven(Path(scratch), progress)
                (Path(scratch) / "jars").rename(target)
    return target


def _maven(scratch: Path, progress: Progress) -> None:
    """Fetches into ``scratch/jars``."""
    shutil.copy(POM, scratch / "pom.xml")
    log = scratch / "maven.log"
    jars = scratch / "jars"
    command = ["mvn", "-B", "-C", "-f", str(scratch / "pom.xml"), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    progress.line(
        f"Kafka {KAFKA_VERSION}: fetching its jars with Maven, about {megabytes(DOWNLOAD_BYTES)}, once"
    )
    started = time.monotonic()
    with log.open("wb") as output:
        maven = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_maven_environment(),
        )
    try:
        while maven.poll() is None:
            if time.monotonic() - started > FETCH_WITHIN_S:
                raise ServerStartError(
                    f"Maven is still not done after {FETCH_WITHIN_S / 60:g} minutes; is a proxy or a mirror "
                    "needed in ~/.m2/settings.xml? What it has fetched so far is kept: try again"
                )
            try:
                maven.wait(0.5)
            except subprocess.TimeoutExpired:
                count, size = _downloaded(log)
                progress.update(f"Kafka {KAFKA_VERSION}: {count} files, {megabytes(size)}")
    finally:
        if maven.poll() is None:
            maven.kill()
            maven.wait()
    found = list(jars.glob("*.jar"))
    if maven.returncode or not found:
        reasons = [line for line in tail(log, 200).splitlines() if line.startswith("[ERROR]")]
        raise ServerStartError(
            "Maven could not fetch Kafka's jars; is the network there, or a proxy or mirror needed in "
            "~/.m2/settings.xml?\n" + "\n".join(f"  {line[:300]}" for line in reasons[:3])
        )
    size = sum(jar.stat().st_size for jar in found)
    progress.line(
        f"Kafka {KAFKA_VERSION}: {len(found)} jars, {megabytes(size)}, in {time.monotonic() - started:.0f} s"
    )


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
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Holds a lock between processes; it is released whatever becomes of its holder."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress.line(f"Kafka {KAFKA_VERSION}: another process is fetching its jars; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
