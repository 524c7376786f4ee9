"""Which error it was and where it was raised, in words that hold none of its values.

The text of an exception may quote a name or a form's value, so for logs and headers only its type and its
frames are used.
"""

from pathlib import Path
from traceback import walk_tb


def error_type(error: BaseException) -> str:
    """Name of the class of ``error``, with its module unless that is ``builtins``."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_location(error: BaseException | None, package: str) -> str:
    """Type of ``error`` and the deepest frame within ``package`` (the consumer's code), else the
    deepest frame of all: ``ValueError at billing.consumer:41 in handle``; ``none`` without an error."""
    if error is None:
        return "none"
    where = [
        (str(frame.f_globals.get("__name__", "?")), line, frame.f_code.co_name)
        for frame, line in walk_tb(error.__traceback__)
    ]
    if not where:
        return error_type(error)
    own = [place for place in where if place[0].split(".")[0] == package]
    module, line, function = (own or where)[-1]
    return f"{error_type(error)} at {module}:{line} in {function}"


MOST_FRAMES = 20
"""The deepest ones are kept."""


def error_frames(error: BaseException | None) -> list[str]:
    """The traceback without its values: ``billing/consumer.py:41 in handle``, the deepest frame last."""
    if error is None:
        return []
    frames = [
        f"{'/'.join(Path(frame.f_code.co_filename).parts[-2:])}:{line} in {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    return frames[-MOST_FRAMES:]
