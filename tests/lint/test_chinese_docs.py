"""Each document that a user follows is there in Chinese, and says there what it says in English."""

import re
from collections import Counter
from pathlib import Path

from tests.support.cases import of_each
from tests.support.documents import (
    ROOT,
    anchor,
    blocks,
    body,
    headings,
    links,
    prose,
    without_comments,
)

SUFFIX = ".zh-CN.md"
DOCS = ROOT / "docs"
ENGLISH_ONLY = {"claims.md"}
"""A list of tests by name."""
ENGLISH = [
    ROOT / "README.md",
    DOCS / "README.md",
    *(
        page
        for folder in ("tutorial", "guide", "reference", "explanation")
        for page in sorted((DOCS / folder).glob("*.md"))
        if not page.name.endswith(SUFFIX) and page.name not in ENGLISH_ONLY
    ),
]
SPOKEN = re.compile(r"^<!-- (?:doctor: [\w ]+|status) -->\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""What doctor and status print, in the page's language: tests/unit/doctor compares it."""
DRAWN = re.compile(r"[\u2500-\u257f]")


PAIRS = [(english, english.with_name(english.stem + SUFFIX)) for english in ENGLISH]
of_each_pair = of_each(PAIRS, lambda pair: str(pair[0].relative_to(ROOT)))


@of_each_pair
def test_each_is_there(pair: tuple[Path, Path]) -> None:
    chinese = pair[1]
    assert chinese.exists(), f"write {chinese.relative_to(ROOT)}, or take it along with the English page"


def test_no_chinese_guide_is_left_behind() -> None:
    for path in DOCS.rglob(f"*{SUFFIX}"):
        assert path.with_name(path.name.replace(SUFFIX, ".md")).exists(), path.name


@of_each_pair
def test_each_leads_to_the_other(pair: tuple[Path, Path]) -> None:
    english, chinese = pair
    assert english.read_text(encoding="utf-8").splitlines()[2] == f"[中文]({chinese.name})"
    assert chinese.read_text(encoding="utf-8").splitlines()[2] == f"[English]({english.name})"


@of_each_pair
def test_they_have_the_same_structure(pair: tuple[Path, Path]) -> None:
    ours, theirs = ([len(hashes) for hashes, _ in headings(path)] for path in pair)
    assert ours == theirs


@of_each_pair
def test_they_show_the_same_code(pair: tuple[Path, Path]) -> None:
    ours, theirs = (shown(path) for path in pair)
    assert [language for language, _ in ours] == [language for language, _ in theirs]
    for (_, code), (_, other) in zip(ours, theirs, strict=True):
        assert without_comments(code) == without_comments(other)


def shown(path: Path) -> list[tuple[str, str]]:
    """The code blocks; of drawings and of what the doctor says only that they are there."""
    spoken = set(SPOKEN.findall(path.read_text(encoding="utf-8")))
    return [
        (language, "" if code in spoken or DRAWN.search(code) else code) for language, code in blocks(path)
    ]


@of_each_pair
def test_they_name_the_same_claims(pair: tuple[Path, Path]) -> None:
    ours, theirs = (Counter(re.findall(r"claims\.md#([\w-]+)", prose(path))) for path in pair)
    assert ours == theirs


@of_each_pair
def test_they_name_the_same_things(pair: tuple[Path, Path]) -> None:
    """Code in the text; words in `<>` are in the page's own language."""
    ours, theirs = (
        {re.sub(r"<[^>]*>", "<>", name) for name in re.findall(r"`([^`]+)`", one_line(body(path)))}
        for path in pair
    )
    assert ours == theirs


def one_line(text: str) -> str:
    return re.sub(r"\n +|\n(?!\n|\||-|#)", " ", text)


@of_each_pair
def test_they_lead_to_the_same_places(pair: tuple[Path, Path]) -> None:
    ours, theirs = ({place(path, link) for link in links(path)} for path in pair)
    english, chinese = pair
    assert ours - {place(english, chinese.name)} == theirs - {place(chinese, english.name)}


def place(page: Path, link: str) -> tuple[str, int | None]:
    """Where a link leads in either language: the document's English name, and the heading by its number."""
    if link.startswith(("http://", "https://")):
        return link, None
    name, _, fragment = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    number = None
    if fragment:
        number = [anchor(heading) for _, heading in headings(target)].index(fragment)
    return str(target).replace(".zh-CN", ""), number


@of_each_pair
def test_a_chinese_page_leads_to_chinese_pages(pair: tuple[Path, Path]) -> None:
    english, chinese = pair
    for link in links(chinese):
        target = (chinese.parent / link.partition("#")[0]).resolve()
        if target != english and target.suffix == ".md" and not target.name.endswith(SUFFIX):
            assert not target.with_name(target.stem + SUFFIX).exists(), f"{link} is there in Chinese too"
