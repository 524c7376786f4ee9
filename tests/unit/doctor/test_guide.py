"""The Chinese guide shows what the English one shows: the same findings and values, in the doctor's words.

tests/integration/test_doctor.py compares the English page with what the doctor really prints.
"""

import re
import string
from pathlib import Path

import pytest

from dingbridge.doctor.findings import Words, read_words
from dingbridge.ingress.journal import check as disk

GUIDES = Path(__file__).parents[3] / "docs" / "guide"
WORDS = read_words("dingbridge.doctor") | disk.CHECK.words
SHOWN = re.compile(r"<!-- doctor: ([\w ]+) -->\n```text\n(.*?)```", re.DOTALL)
SUMMARY = {
    "en": "Findings: {all}; errors: {errors}, warnings: {warnings}.",
    "zh": "共 {all} 条；错误：{errors}，警告：{warnings}。",
}
REMEDY = {"en": " do: ", "zh": " 办法："}


def shown_in(page: str) -> dict[str, str]:
    """``{what is wrong: the output that the page shows}``."""
    return dict(SHOWN.findall((GUIDES / page).read_text(encoding="utf-8")))


def findings(output: str, lang: str) -> list[tuple[str, dict[str, str]]]:
    """``[(code, values)]``, each read back out of the words in which it was said."""
    *lines, last = re.split(r"\n(?=\S)", output.strip())
    said = [read(" ".join(line.split()), lang) for line in lines]
    return [*said, ("summary", values_in(last, SUMMARY[lang]))]


def read(line: str, lang: str) -> tuple[str, dict[str, str]]:
    _level, code, text = line.split(" ", 2)
    return code, values_in(text, REMEDY[lang].join(words(WORDS[code], lang)))


def words(of: Words, lang: str) -> tuple[str, ...]:
    return of.en if lang == "en" else of.zh


def values_in(text: str, template: str) -> dict[str, str]:
    pattern, seen = "", set()
    for literal, name, _, _ in string.Formatter().parse(template):
        pattern += re.escape(literal)
        if name:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>.*?)"
            seen.add(name)
    match = re.fullmatch(pattern, text)
    assert match, f"{text!r} is not said like {template!r}"
    return {name: value.replace("、", ", ") for name, value in match.groupdict().items()}


@pytest.mark.parametrize("what", shown_in("doctor.md"))
def test_the_chinese_page_shows_the_same_findings(what: str) -> None:
    english = findings(shown_in("doctor.md")[what], "en")
    chinese = findings(shown_in("doctor.zh-CN.md")[what], "zh")
    assert [code for code, _ in english] == [code for code, _ in chinese]
    for (code, ours), (_, theirs) in zip(english, chinese, strict=True):
        for name in ours.keys() & theirs.keys():
            assert ours[name] == theirs[name], f"{code}: {name}"


def test_the_chinese_page_shows_as_much() -> None:
    assert shown_in("doctor.md").keys() == shown_in("doctor.zh-CN.md").keys()
