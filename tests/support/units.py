"""``deploy/systemd`` as values."""

from pathlib import Path

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """``{section: {key: values}}``, of a key that stands more than once all of them (systemd.syntax(7))."""
    [path] = [path for path in UNITS if path.name == name]
    sections: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            sections.setdefault(section, {}).setdefault(key, []).append(value)
    return sections
