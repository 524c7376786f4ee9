"""The files as they ought to be."""

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dev.dashboards.boards import DASHBOARDS
from dev.dashboards.panels import as_json

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"


def files() -> dict[str, str]:
    """The text of each file by its name."""
    return {
        f"{board.uid}.json": json.dumps(as_json(board), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
        for board in DASHBOARDS
    }
