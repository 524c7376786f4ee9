"""Writes what was planned: all of it, or, when anything is in the way, nothing."""

from contextlib import suppress
from pathlib import Path

from dingbridge.cli.new_consumer.names import ScaffoldError
from dingbridge.cli.new_consumer.project import Plan


def write(plan: Plan) -> None:
    """Write the new files and change the others. Raises ``ScaffoldError`` when a file exists already, or
    cannot be written; what was written until then is taken back."""
    if there := [path for path in plan.new if path.exists()]:
        listed = ", ".join(str(path) for path in there)
        raise ScaffoldError(f"{listed} exists already, and nothing is overwritten; take another name")
    written: list[Path] = []
    folders: list[Path] = []
    try:
        for path, text in plan.new.items():
            folders += [f for f in reversed(path.parents) if not f.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
        for path, (_, after) in plan.changed.items():
            _replace(path, after)
    except OSError as error:
        for path, (before, _) in plan.changed.items():
            with suppress(OSError):
                if path.read_text(encoding="utf-8") != before:
                    _replace(path, before)
        for path in written:
            path.unlink(missing_ok=True)
        for folder in reversed(folders):
            with suppress(OSError):
                folder.rmdir()
        raise ScaffoldError(f"{error.filename} cannot be written ({error.strerror}); nothing was") from error


def _replace(path: Path, text: str) -> None:
    """The whole of the new text, or the old one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.chmod(path.stat().st_mode & 0o777)
    beside.replace(path)
