"""What is said of a journal file that is refused: what is wrong with it, and what to do."""

from pathlib import Path

from ingress.high_water import SUFFIX, HighWater


def gone(path: Path) -> str:
    """It is not there any more, with as many callbacks as its mark says, if that says anything."""
    mark = HighWater(path).read()
    count = "callbacks" if mark is None else f"{mark[1]} callbacks"
    return _less(path, f"{path} is not here, but it has held {count}")


def cut(path: Path, held: int, highest: int) -> str:
    """It ends before the callbacks that it has held."""
    return _less(
        path,
        f"{path} ends at callback {highest}, but it has held {held}: its {path.name}-wal was removed "
        "or not copied, the file was cut, or an older copy was restored",
    )


def _less(path: Path, what: str) -> str:
    return (
        f"{what}. Nothing was changed. Put back what is missing; or, if those callbacks are given up, move "
        f"{path.name}{SUFFIX} away"
    )


def replaced(path: Path, expected: str, found: str) -> str:
    """Another journal stands in its place."""
    return (
        f"{path} is another journal ({found}) than the one that was written here ({expected}). Nothing was "
        f"changed. Put that one back; or, if this one is meant, move {path.name}{SUFFIX} away"
    )


def newer(path: Path, version: int, known: int) -> str:
    """A newer version has written it."""
    return (
        f"{path} was written by a newer dingbridge (version {version}, this one knows {known}); "
        "start the newer one, nothing was changed"
    )


def foreign(path: Path) -> str:
    """It is none of ours."""
    return (
        f"{path} is not a journal of dingbridge; move it away if it does not belong there, or restore the "
        "journal's folder as a whole from its back-up"
    )
