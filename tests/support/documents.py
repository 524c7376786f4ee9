"""The documents as tests look at them: code blocks, prose, headings, links, footnotes."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_FOOTNOTE = re.compile(r"^\[\^([\w-]+)\]: ((?:.*)(?:\n {4}.*)*)", re.MULTILINE)
_ONLY_CHINESE = re.compile(r"^<!-- zh only -->\n.*?^<!-- /zh only -->\n", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str | None = None) -> list[tuple[str, str]]:
    """``[(language, code)]`` of the fenced blocks, without what only a Chinese document has."""
    found = _FENCE.findall(_ONLY_CHINESE.sub("", path.read_text(encoding="utf-8")))
    return [block for block in found if language in (None, block[0])]


@cache
def prose(path: Path) -> str:
    """The document without its code blocks and without what only the Chinese one has."""
    return _FENCE.sub("", _ONLY_CHINESE.sub("", path.read_text(encoding="utf-8")))


@cache
def body(path: Path) -> str:
    """The prose without the footnotes' definitions."""
    return _FOOTNOTE.sub("", prose(path))


def footnotes(path: Path) -> dict[str, list[str]]:
    return {name: re.split(r",\s*", text.strip()) for name, text in _FOOTNOTE.findall(prose(path))}


def headings(path: Path) -> list[tuple[str, str]]:
    """``[(hashes, text)]``."""
    return re.findall(r"^(#+) (.+)$", prose(path), re.MULTILINE)


def links(path: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(path))


def anchor(heading: str) -> str:
    """The fragment by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def without_comments(code: str) -> str:
    """Comments are in the language of the page; ``# ``, ``-- `` and ``// `` begin one."""
    return re.sub(r"(^|[ \t]+)(#|--|//) .*", "", code, flags=re.MULTILINE)
