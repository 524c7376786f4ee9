"""Writes what was planned, and overwrites nothing."""

from dingbridge.cli.new_consumer.names import ScaffoldError
from dingbridge.cli.new_consumer.project import Plan


def write(plan: Plan) -> None:
    """Write the new files and change the others. Raises ``ScaffoldError`` when a new file exists already,
    before anything is written; or when one cannot be written."""
    if there := [path for path in plan.new if path.exists()]:
        listed = ", ".join(str(path) for path in there)
        raise ScaffoldError(f"{listed} exists already, and nothing is overwritten; take another name")
    try:
        for path, text in {**plan.new, **plan.changed}.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ScaffoldError(
            f"{error.filename} cannot be written ({error.strerror}); correct that, take away what was "
            f"written until then in {plan.root} (`git status` shows it), and run this again"
        ) from error
