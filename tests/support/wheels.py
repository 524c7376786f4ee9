"""The built wheel, and environments that hold what it asks for and nothing else. Nothing is downloaded: what
is installed for the tests is linked.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.clone import LEFT_OUT, ROOT

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def build_wheel(folder: Path) -> Path:
    """The wheel of these sources, built in a copy of them below ``folder``."""
    sources = folder / "sources"
    shutil.copytree(ROOT, sources, ignore=LEFT_OUT, symlinks=True)
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheel")
    subprocess.run([*PIP, "wheel", *options, sources], check=True, timeout=120)
    [wheel] = (folder / "wheel").glob("*.whl")
    return wheel


def environment_of(wheel: Path, folder: Path, *also: str) -> Path:
    """The Python of a new environment with ``wheel``, what it needs without its extras, and ``also``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    python = folder / "bin" / "python"
    options = ("--quiet", "--no-index", "--no-deps")
    subprocess.run([*PIP, "--python", python, "install", *options, wheel], check=True, timeout=120)
    [site] = folder.glob("lib/python*/site-packages")
    [ours] = (PathDistribution(path) for path in site.glob("dingbridge-*.dist-info"))
    link(site, [*requirements(ours), *also])
    return python


def requirements(of: Distribution, extra: str = "") -> list[str]:
    """What ``of`` needs; with ``extra`` what that needs beside it."""
    asked = [Requirement(text) for text in of.requires or ()]

    def needed(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

    return [str(r) for r in asked if needed(r, extra) and not (extra and needed(r, ""))]


def link(site: Path, wanted: Iterable[str]) -> None:
    """Links the packages ``wanted``, and what they need, into the folder ``site``."""
    site.mkdir(exist_ok=True)
    for found in _closure(wanted):
        tops = {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            target = site / top
            if not target.exists():
                target.symlink_to(Path(str(found.locate_file(top))).resolve())


def _closure(wanted: Iterable[str]) -> Iterator[Distribution]:
    todo, done = list(map(Requirement, wanted)), set[tuple[str, str]]()
    while todo:
        requirement = todo.pop()
        found = distribution(requirement.name)
        for extra in ("", *requirement.extras):
            if (requirement.name, extra) not in done:
                done.add((requirement.name, extra))
                todo += map(Requirement, requirements(found, extra))
        yield found
