"""Where dingbridge itself is installed from: a wheel, a folder, git, or an index of one's own.

Its name is never asked of an index that nobody has named: whoever owns the name there would be installed.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import typer

from dingbridge.cli.new_consumer.names import ScaffoldError

EXPECTED = (
    "a wheel file (dingbridge-….whl, which `make dist` builds) or the address of your own package index"
)


@dataclass(frozen=True, slots=True)
class Source:
    """``place``: a path, a requirement with its address, or the ``index`` that has the name."""

    place: str
    index: bool = False

    @property
    def pip(self) -> str:
        """What stands behind ``pip install`` in a shell."""
        place = shlex.quote(self.place)
        return f"--index-url {place} dingbridge" if self.index else place


def source_of(given: str) -> Source:
    """What ``--dingbridge`` names; without it where this dingbridge was installed from, if that is no index;
    else somebody at a terminal is asked. Raises ``ScaffoldError``."""
    if given:
        return _named(given)
    if (known := _installed_from()) is not None:
        return known
    if not sys.stdin.isatty():
        raise ScaffoldError(f"say with --dingbridge what the project installs dingbridge from: {EXPECTED}")
    return _named(typer.prompt(f"Install dingbridge from: {EXPECTED}", err=True))


def _named(given: str) -> Source:
    parts = urlsplit(given)
    if parts.scheme in ("http", "https") and parts.netloc:
        if "@" in parts.netloc:
            raise ScaffoldError(
                "leave the password out of the address: pip reads it from ~/.netrc or a keyring"
            )
        return Source(f"dingbridge @ {given}") if parts.path.endswith(".whl") else Source(given, index=True)
    path = Path(given).expanduser().resolve()
    if path.is_file() and path.name.startswith("dingbridge-") and path.suffix == ".whl":
        return Source(str(path))
    if (path / "dingbridge" / "worker").is_dir():
        return Source(str(path))  # a clone
    raise ScaffoldError(f"--dingbridge {given!r} is neither {EXPECTED}")


def _installed_from() -> Source | None:
    """Of a direct reference, as pip and uv note it (PEP 610): its place. None: it came from an index."""
    known = json.loads(distribution("dingbridge").read_text("direct_url.json") or "{}")
    url = known.get("url", "")
    if "vcs_info" in known:
        return Source(f"dingbridge @ {known['vcs_info']['vcs']}+{url}@{known['vcs_info']['commit_id']}")
    if url.startswith("file://"):
        return Source(url2pathname(urlsplit(url).path))
    return Source(f"dingbridge @ {url}") if url else None
