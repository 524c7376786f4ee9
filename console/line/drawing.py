"""Where the line's parts and the day's curves are drawn. Pure: numbers for a template, which makes the SVG.

From left to right, one branch for each consumer; on a narrow screen from top to bottom.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dingbridge.console.line.part import Part

_HEIGHT: Final = 54
_ROW: Final = 72
_COLUMNS: Final = {
    "dingtalk": (4, 150),
    "journal": (194, 150),
    "kafka": (384, 150),
    "consumer": (614, 236),
    "systems": (890, 186),
}
"""By kind where a part begins, and how wide it is; wide drawing."""
_WIDTH: Final = 1080
_TALL: Final = {
    "dingtalk": (4, 240),
    "journal": (4, 240),
    "kafka": (4, 240),
    "consumer": (34, 322),
    "systems": (70, 286),
}
_TALL_WIDTH: Final = 360
_TRUNK_X: Final = 16


@dataclass(frozen=True, slots=True)
class Box:
    """One part, in the drawing's own units."""

    part: Part
    x: float
    y: float
    width: float
    height: float = _HEIGHT

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def right(self) -> float:
        return self.x + self.width


@dataclass(frozen=True, slots=True)
class Drawing:
    """``edges`` are SVG paths, each with the part to which it leads."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[tuple[str, Part], ...]


def wide(parts: Sequence[Part]) -> Drawing:
    """From left to right; ``parts`` in the order of the line."""
    rows = list(dict.fromkeys(part.consumer for part in parts if part.consumer))
    height = _ROW * max(1, len(rows))
    boxes: list[Box] = []
    edges: list[tuple[str, Part]] = []
    trunk: Box | None = None
    for part in parts:
        x, width = _COLUMNS[part.kind]
        middle = _ROW * (rows.index(part.consumer) + 0.5) if part.consumer else min(height, 3 * _ROW) / 2
        box = Box(part, x, middle - _HEIGHT / 2, width)
        if part.kind == "systems":
            edges.append((f"M{boxes[-1].right} {middle}H{x}", part))
        elif trunk is not None:
            bend = (trunk.right + x) / 2
            edges.append((f"M{trunk.right} {trunk.middle}H{bend}V{middle}H{x}", part))
        boxes.append(box)
        trunk = trunk if part.consumer else box
    return Drawing(_WIDTH, height, tuple(boxes), _worst_on_top(edges))


def tall(parts: Sequence[Part]) -> Drawing:
    """From top to bottom, the consumers' branches beside one another's trunk."""
    boxes: list[Box] = []
    edges: list[tuple[str, Part]] = []
    trunk: Box | None = None
    y = 10.0
    for part in parts:
        x, width = _TALL[part.kind]
        box = Box(part, x, y, width)
        if part.kind == "systems":
            above = boxes[-1]
            edges.append((f"M{above.x + _TRUNK_X} {above.y + _HEIGHT}V{box.middle}H{x}", part))
        elif part.consumer and trunk is not None:
            edges.append((f"M{_TRUNK_X} {trunk.y + _HEIGHT}V{box.middle}H{x}", part))
        elif trunk is not None:
            edges.append((f"M{trunk.right / 2} {trunk.y + _HEIGHT}V{y}", part))
        boxes.append(box)
        trunk = trunk if part.consumer else box
        y += _ROW
    return Drawing(_TALL_WIDTH, y, tuple(boxes), _worst_on_top(edges))


def _worst_on_top(edges: list[tuple[str, Part]]) -> tuple[tuple[str, Part], ...]:
    """What is drawn last covers the rest where they share a way."""
    return tuple(sorted(edges, key=lambda edge: edge[1].state))


def curve(values: Sequence[float | None], width: float, height: float) -> str:
    """An SVG path of ``values`` from left to right, the largest at the top; where one is None it is broken.
    What is beyond all bounds is at the top, too."""
    most = max((value for value in values if value is not None and value < float("inf")), default=0.0) or 1.0
    step = width / max(1, len(values) - 1)
    path, pen = "", "M"
    for number, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        path += f"{pen}{number * step:.1f} {height - height * min(value, most) / most:.1f}"
        # a lone value has a length of its own, or nothing would be seen
        path += f"h{step / 2:.1f}" if pen == "M" else ""
        pen = "L"
    return path
