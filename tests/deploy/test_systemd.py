"""The units by systemd's own tool: no key and no value that it does not know."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.units import UNITS

ROOT = Path(__file__).parents[2]
_DEBIAN = ("systemd", "libsystemd-shared", "libapparmor1", "libip4tc2", "libkmod2", "libseccomp2")
"""The package, and the libraries that not every machine has."""


@pytest.fixture(scope="module")
def analyze() -> str:
    """systemd-analyze: ``$SYSTEMD_ANALYZE``, the PATH's, or Debian's."""
    tool = [ROOT / "scripts" / "debian-program", "systemd-analyze", "usr/bin/systemd-analyze"]
    found = subprocess.run([*tool, "SYSTEMD_ANALYZE", *_DEBIAN], capture_output=True, text=True, check=False)
    assert not found.returncode, f"no systemd-analyze: {found.stderr}"
    return found.stdout.strip()


def verified(analyze: str, text: str, folder: Path, name: str) -> str:
    """What it says of a unit, on a machine where dingbridge is beside this Python."""
    beside = Path(sys.executable).with_name("dingbridge")
    path = folder / name.replace("@", "@address-sync")
    path.write_text(text.replace("/opt/dingbridge/bin/dingbridge", str(beside)), encoding="utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", path], capture_output=True, text=True, check=False, timeout=60
    )
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if path.name in line)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_every_unit_as_it_stands(unit: Path, analyze: str, tmp_path: Path) -> None:
    assert verified(analyze, unit.read_text(encoding="utf-8"), tmp_path, unit.name) == ""


@pytest.mark.parametrize(
    "right", ["Restart=on-failure", "TimeoutStopSec=15", "ExecStart=/opt/dingbridge/bin/dingbridge"]
)
def test_a_misspelt_one_would_be_found(right: str, analyze: str, tmp_path: Path) -> None:
    [unit] = [path for path in UNITS if path.name == "dingbridge-ingress.service"]
    text = unit.read_text(encoding="utf-8")
    assert right in text
    assert verified(analyze, text.replace(right, right + "x"), tmp_path, unit.name) != ""
