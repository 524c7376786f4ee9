"""``python -m dev.dashboards``."""

from pathlib import Path

from dev.dashboards.files import FOLDER, files


def main() -> None:
    """Writes every file, and removes those of dashboards that are no more."""
    wanted = files()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        if stale.name not in wanted:
            stale.unlink()
    for name, text in wanted.items():
        Path(FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
