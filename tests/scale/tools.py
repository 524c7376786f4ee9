"""Engines that come in wheels, too large for every clone: fetched once, beside the virtual environment."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from dingbridge.simulator.kafka.jars import cache_dir

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FETCH_WITHIN_S = 900


def tools() -> Path:
    """The folder with the packages of ``requirements.txt``, for ``PYTHONPATH``: 180 MB, fetched once."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache_dir() / "scale" / digest
    if not folder.is_dir():
        scratch = folder.with_name(f"{digest}.{os.getpid()}")
        install = ["pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        arguments = ["--no-deps", "--target", str(scratch), "-r", str(REQUIREMENTS)]
        subprocess.run([sys.executable, "-m", *install, *arguments], check=True, timeout=FETCH_WITHIN_S)
        scratch.rename(folder)
    return folder
