"""What the documents promise, found by how it is written, and what ``docs/claims.md`` says of it.

A promise is the part of a sentence before a footnote that names a test, or a sentence with a promise word.
``python -m tests.support.claims`` prints what the register lacks, ready to be filled in, and what is stale.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REGISTER = ROOT / "docs" / "claims.md"

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"^\[\^([\w-]+)\]: (.*(?:\n {4}.*)*)", re.MULTILINE)
_MARK = re.compile(r"\s*\[\^([\w-]+)\]")
_ITEM = re.compile(r"^(- |\d+\. )")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`*(\[])")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_EDGES = " ;,.:"


@dataclass(frozen=True, slots=True)
class Claim:
    """``words`` as they stand (of a link its text), and the tests that a footnote names for them. No tests: a
    promise word."""

    words: str
    tests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A phrase that is not used, except in a sentence that holds ``unless`` (empty: in none)."""

    phrase: str
    unless: str


def documents() -> list[Path]:
    """What makes promises: the README, and the docs but decisions (reasons) and the register itself."""
    docs = [p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "decisions" and p != REGISTER]
    return [ROOT / "README.md", *sorted(docs)]


def footnotes(text: str) -> dict[str, tuple[str, ...]]:
    """``{name: what it names}``."""
    return {name: tuple(re.split(r",\s*", named.strip())) for name, named in _NOTE.findall(text)}


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs, list items and table cells, each in one line."""
    gathered: list[str] = []
    for line in [*_NOTE.sub("", _FENCE.sub("", text)).splitlines(), ""]:
        stripped = line.strip()
        apart = not stripped or stripped.startswith(("#", "<!--", "|"))
        if gathered and (apart or _ITEM.match(stripped)):
            yield " ".join(gathered)
            gathered = []
        if stripped.startswith("|"):
            yield from _cells(stripped)
        elif not apart:
            gathered.append(_ITEM.sub("", stripped))


def _cells(row: str) -> list[str]:
    """The cells of a table's row; one of footnotes alone belongs to the cell before it."""
    found: list[str] = []
    for cell in (cell.strip() for cell in row.strip("|").split("|")):
        if found and cell and not _MARK.sub("", cell).strip(_EDGES):
            found[-1] += cell
        else:
            found.append(cell)
    return found


def sentences(text: str) -> Iterator[str]:
    """Every sentence of a document, without code blocks, headings and footnotes."""
    for block in _blocks(text):
        yield from _SENTENCE.split(block)


def claims(path: Path, promise_words: list[str]) -> list[Claim]:
    """The promises of one document, each once."""
    text = path.read_text(encoding="utf-8")
    named = footnotes(text)
    promise = re.compile(rf"\b({'|'.join(promise_words)})\b", re.IGNORECASE)
    found: dict[Claim, None] = {}
    for sentence in sentences(_LINK.sub(r"\1", text)):
        *marked, rest = _MARK.split(sentence)
        last: Claim | None = None
        for words, name in zip(marked[::2], marked[1::2], strict=True):
            claim = Claim(words.strip(_EDGES), named.get(name, ()))
            if not claim.words and last is not None:  # a second footnote for the same words
                del found[last]
                claim = Claim(last.words, last.tests + claim.tests)
            found[claim] = None
            last = claim
        if promise.search(rest):
            found[Claim(rest.strip(_EDGES))] = None
    return list(found)


class Register:
    """``docs/claims.md`` as values."""

    def __init__(self, text: str | None = None) -> None:
        self._text = REGISTER.read_text(encoding="utf-8") if text is None else text
        self.forbidden = [
            Forbidden(phrase.strip("`"), unless.strip("`"))
            for phrase, unless, _ in self._rows("Words that we do not use")
        ]
        self.promise_words = [word.strip("`") for (word, *_) in self._rows("Words that promise")]
        self.untested = {words: why for words, why in self._rows("Said without a test")}
        self.seen: dict[str, dict[Claim, str]] = {}
        for path in documents():
            rows = self._rows(name := str(path.relative_to(ROOT)))
            self.seen[name] = {
                Claim(words, tuple(t.strip("` ") for t in tests.split(","))): seen
                for words, tests, seen in rows
            }

    def _rows(self, heading: str) -> list[list[str]]:
        _, found, section = f"\n{self._text}".partition(f"\n## {heading}\n")
        section = section.partition("\n## ")[0] if found else ""
        table = [line for line in section.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line[1:].rstrip("| ").split(" | ")] for line in table[1:]]


def main() -> None:
    register = Register()
    said: set[str] = set()
    for path in documents():
        name = str(path.relative_to(ROOT))
        here = claims(path, register.promise_words)
        said |= {claim.words for claim in here if not claim.tests}
        missing = [c for c in here if c.tests and c not in register.seen[name]]
        missing_words = [c for c in here if not c.tests and c.words not in register.untested]
        stale = [claim for claim in register.seen[name] if claim not in here]
        for title, listed in (("missing", missing), ("stale", stale)):
            for claim in listed:
                print(f"{name}, {title}:\n| {claim.words} | {', '.join(f'`{t}`' for t in claim.tests)} | … |")
        for claim in missing_words:
            print(f"{name}, said without a test:\n| {claim.words} | … |")
    for words in register.untested.keys() - said:
        print(f"stale, said without a test: {words}")


if __name__ == "__main__":
    main()
