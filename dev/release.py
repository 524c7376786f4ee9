"""``python -m dev.release v0.1.0``: the notes of this release, or why the tag may not be released.

A tag is ``v`` and the version of ``pyproject.toml``; the notes are the CHANGELOG's section of that version,
which has a date. ``.github/workflows/release.yml`` calls it before anything is installed.
"""

import re
import sys
import tomllib
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(tag: str, pyproject: str, changelog: str) -> str:
    """The CHANGELOG's section for this tag, without its heading. Raises ``ValueError`` with what to do."""
    version = tomllib.loads(pyproject)["project"]["version"]
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, and pyproject.toml says {version}: tag v{version}, or change it")
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    of_version = [section for section in sections if section.split(maxsplit=1)[0] == version]
    if len(of_version) != 1:
        raise ValueError(f"CHANGELOG.md has {len(of_version)} sections for {version}: make it one")
    heading, _, text = of_version[0].partition("\n")
    try:
        date.fromisoformat(heading.removeprefix(f"{version} - "))
    except ValueError:
        raise ValueError(f"CHANGELOG.md lacks the date: write '## {version} - YYYY-MM-DD'") from None
    return text.strip() + "\n"


if __name__ == "__main__":
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CHANGELOG.md")]
    try:
        print(notes(sys.argv[1], *texts), end="")
    except (IndexError, ValueError) as error:
        sys.exit(f"dev.release: {error}")
