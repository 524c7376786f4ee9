"""How a relay that finds the journal damaged tells the ingress, which has the folder put aside."""

from pathlib import Path
from typing import Final

DAMAGED_FILE: Final = "damaged"


def report_damage(folder: Path, words: str) -> None:
    """Leave ``words`` in the journal's ``folder``, for the ingress that writes it. Raises ``OSError``."""
    (folder / DAMAGED_FILE).write_text(words, encoding="utf-8")
