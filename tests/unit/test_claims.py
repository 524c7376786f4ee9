"""The documents promise what ``docs/claims.md`` holds, and the register names tests that exist."""

import ast
import re
from functools import cache

import pytest

from tests.support.claims import REGISTER, ROOT, Claim, Register, claims, documents, sentences

REGISTERED = Register()
DOCUMENTS = pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
CHINESE = ROOT / "README.zh-CN.md"
SPOKEN = [
    *documents(),
    CHINESE,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").glob("decisions/*.md"),
]


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@DOCUMENTS
def test_what_a_document_promises_stands_in_the_register_word_for_word(path):
    registered = REGISTERED.seen[str(path.relative_to(ROOT))]
    for claim in claims(path, REGISTERED.promise_words):
        if claim.tests:
            assert claim in registered, f"not in {REGISTER.name}: {claim.words}"
        else:
            assert claim.words in REGISTERED.untested, f"promises without a test: {claim.words}"


@DOCUMENTS
def test_the_register_holds_nothing_that_is_no_longer_said(path):
    said = claims(path, REGISTERED.promise_words)
    for claim in REGISTERED.seen[str(path.relative_to(ROOT))]:
        assert claim in said, claim.words


def test_what_is_said_without_a_test_is_still_said_and_has_a_reason():
    said = {c.words for path in documents() for c in claims(path, REGISTERED.promise_words) if not c.tests}
    assert REGISTERED.untested.keys() <= said
    assert all(REGISTERED.untested.values())


def test_every_test_that_the_register_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", REGISTER.read_text(encoding="utf-8"))
    assert named
    for path, function in named:
        assert (ROOT / path).is_file(), path
        assert function in functions_of(path), f"{path}::{function}"
    for rows in REGISTERED.seen.values():
        for claim in rows:
            assert all("::test_" in test for test in claim.tests), claim


def test_every_claim_says_when_it_was_seen():
    for rows in REGISTERED.seen.values():
        for claim, seen in rows.items():
            assert re.match(r"20\d\d-\d\d-\d\d(; |$)", seen), claim.words


def test_every_section_of_the_register_is_read():
    headings = set(re.findall(r"^## (.+)$", REGISTER.read_text(encoding="utf-8"), re.MULTILINE))
    own = {"Words that we do not use", "Words that promise", "Said without a test"}
    assert headings - own == {name for name, rows in REGISTERED.seen.items() if rows}
    assert REGISTERED.forbidden
    assert REGISTERED.promise_words


@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_that_we_do_not_use_are_not_used(path):
    for sentence in sentences(path.read_text(encoding="utf-8")):
        for forbidden in REGISTERED.forbidden:
            if re.search(rf"(?<![A-Za-z]){re.escape(forbidden.phrase)}", sentence, re.IGNORECASE):
                assert forbidden.unless, sentence
                assert forbidden.unless in sentence, sentence


def test_the_chinese_readme_promises_only_with_a_footnote():
    for sentence in re.split(r"[。；]|(?<=\])，", "\n".join(sentences(CHINESE.read_text(encoding="utf-8")))):
        if re.search(r"绝不(?!能)|一定会|永不|从不丢", sentence):
            assert "[^" in sentence, sentence


def test_a_promise_is_found_however_it_is_written(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Never a heading\n\nOne that is\nkept reaches [Kafka](x.md) [^a]; another, always. "
        "It is said. Nothing more.\n\n"
        "| never a | cell [^b] | which |\n|---|---|---|\n| of a row | that is tested | [^b] [^a] |\n\n"
        "- an item [^a], and more\n\n```sh\nnever\n```\n\n"
        "[^a]: tests/x.py::test_a,\n    tests/x.py::test_b\n[^b]: tests/x.py::test_c\n",
        encoding="utf-8",
    )
    assert claims(page, ["never", "always", "nothing"]) == [
        Claim("One that is kept reaches Kafka", ("tests/x.py::test_a", "tests/x.py::test_b")),
        Claim("another, always"),
        Claim("Nothing more"),
        Claim("never a"),
        Claim("cell", ("tests/x.py::test_c",)),
        Claim("that is tested", ("tests/x.py::test_c", "tests/x.py::test_a", "tests/x.py::test_b")),
        Claim("an item", ("tests/x.py::test_a", "tests/x.py::test_b")),
    ]
