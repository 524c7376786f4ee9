"""The doctor's check of the journal's disk: file system, free space, how long a write with fsync takes.

Found by the entry point ``ingress`` of ``dingbridge.checks``; its words are in ``check.toml``.
"""

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import Finding, found, read_words
from dingbridge.doctor.parts import Check
from dingbridge.ingress.journal.folder import MIN_FREE_BYTES, file_system, why_unsafe

_WRITES: Final = 5
_LOW_BYTES: Final = 1024 * 1024 * 1024
_SLOW_S: Final = 0.1
_STALLED_S: Final = 1.2  # a commit that takes longer is a 503 (``ingress/journal/writer.py``)


@dataclass(frozen=True, slots=True)
class Seen:
    """``unsafe``: callbacks that are kept there may be lost. ``fsyncs``: seconds of each small write."""

    folder: str
    absent: bool = False
    unusable: str = ""
    kind: str = "?"
    unsafe: bool = False
    free_bytes: int = 0
    fsyncs: tuple[float, ...] = ()


def look(folder: Path) -> Seen:
    """Writes a small file into ``folder`` a few times, with fsync, and removes it again."""
    name, kind = str(folder.absolute()), "?"
    try:
        folder.stat()
        kind = file_system(folder) or kind
        unsafe = why_unsafe(folder) is not None
        fsyncs = _fsyncs(folder)
        free = shutil.disk_usage(folder).free
    except FileNotFoundError:
        return Seen(name, absent=True)
    except OSError as error:
        return Seen(name, unusable=error.strerror or type(error).__name__, kind=kind)
    return Seen(name, kind=kind, unsafe=unsafe, free_bytes=free, fsyncs=fsyncs)


def _fsyncs(folder: Path) -> tuple[float, ...]:
    took = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-") as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return tuple(took)


def judge(seen: Seen, *, allow_unsafe: bool) -> list[Finding]:
    """``allow_unsafe`` is ``JOURNAL_ALLOW_UNSAFE``."""
    folder = seen.folder
    if seen.absent:
        return [found("disk.absent", folder=folder)]
    if seen.unusable:
        return [found("disk.unusable", folder=folder, reason=seen.unusable)]
    findings = []
    if seen.unsafe:
        code = "disk.unsafe_allowed" if allow_unsafe else "disk.unsafe"
        findings.append(found(code, folder=folder, kind=seen.kind))
    if seen.free_bytes < _LOW_BYTES:
        code = "disk.full" if seen.free_bytes < MIN_FREE_BYTES else "disk.low"
        findings.append(found(code, folder=folder, free_mb=seen.free_bytes // 1024**2))
    usual, longest = statistics.median(seen.fsyncs), max(seen.fsyncs)
    if longest >= _STALLED_S:
        findings.append(found("disk.stalled", folder=folder, ms=round(longest * 1000)))
    elif usual >= _SLOW_S:
        findings.append(found("disk.slow", folder=folder, ms=round(usual * 1000)))
    if not findings:
        free_gb, ms = round(seen.free_bytes / 1024**3), round(usual * 1000, 1)
        findings.append(found("disk.ok", folder=folder, kind=seen.kind, free_gb=free_gb, ms=ms))
    return findings


async def _disk(context: Context) -> list[Finding]:
    if not context.has_app:  # whoever is not the ingress may only read the folder
        return []
    seen = await asyncio.to_thread(look, context.settings.journal_path)
    return judge(seen, allow_unsafe=context.settings.journal_allow_unsafe)


CHECK = Check(words=read_words("dingbridge.ingress.journal", "check.toml"), look=_disk)
