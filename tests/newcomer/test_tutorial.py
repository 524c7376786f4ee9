"""The tutorial and a column more, followed word for word: files written, commands typed, output compared."""

import re
import shutil
from pathlib import Path

from tests.support.clone import ROOT, Clone

PAGES = (ROOT / "docs/tutorial/first-consumer.md", ROOT / "docs/guide/add-a-column.md")
CHINESE = ROOT / "docs" / "tutorial" / "first-consumer.zh-CN.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

VARYING = re.compile(
    r"^\d/\d\t|#[0-9a-f]{12}|\d{8}T\d{6}Z-[0-9a-f]{8}|\d{4}-\d\d-\d\dT[\d:]+Z|:\d+ in |in [\d.]+s"
)
"""Places, keys' hashes, replay ids, times, line numbers."""


def blocks(*pages: Path) -> list[tuple[str, str]]:
    return [block for page in pages for block in FENCE.findall(page.read_text(encoding="utf-8"))]


def script(*pages: Path) -> str:
    """The pages as one shell script. A Python block is written to the file that its first line names, a diff
    is applied; before each block a mark is printed, by which its output is found."""
    parts = []
    for number, (language, text) in enumerate(blocks(*pages)):
        parts.append(f"echo '-- block {number}'")
        if language == "sh":
            parts.append(text)
        elif language == "python":
            first = text.splitlines()[0]
            assert re.fullmatch(r"# [\w/]+\.py", first), "its first line names its file"
            body = text.split("\n", 1)[1]
            parts.append(f"cat >{first.removeprefix('# ')} <<'END-OF-FILE'\n{body}END-OF-FILE\n")
        elif language == "diff":
            parts.append(f"git apply <<'END-OF-FILE'\n{text}END-OF-FILE\n")
        else:
            assert language == "text"
    return "\n".join(parts)


def plain(line: str) -> str:
    return " ".join(VARYING.sub("…", line).split())


def test_the_tutorial_does_what_it_says(tmp_path, kafka_env):
    # the page sets the prefixes itself, and means the broker that its reader has
    clone = Clone(tmp_path, {k: v for k, v in kafka_env.items() if not k.endswith("_PREFIX")})
    if (ROOT / ".mypy_cache").is_dir():  # what mypy knows already of all other modules
        shutil.copytree(ROOT / ".mypy_cache", clone.path / ".mypy_cache")
    result = clone.sh(script(*PAGES))
    printed = dict(
        re.findall(r"^-- block (\d+)\n(.*?)(?=^-- block|\Z)", result.stdout, re.MULTILINE | re.DOTALL)
    )
    compared = 0
    for number, (language, text) in enumerate(blocks(*PAGES)):
        if language == "text":
            lines = [plain(line) for line in printed[str(number - 1)].splitlines()]
            for line in text.splitlines():
                found = next((i for i, other in enumerate(lines) if other.startswith(plain(line))), None)
                assert found is not None, f"{line!r} is not printed:\n{printed[str(number - 1)]}"
                del lines[: found + 1]  # in this order
                compared += 1
    assert compared > 15
    # what it has written is as clean as the project asks for
    files = [
        text.splitlines()[0].removeprefix("# ") for language, text in blocks(*PAGES) if language == "python"
    ]
    ruff = (str(clone.venv / "bin" / "python"), "-m", "ruff")
    clone.run(*ruff, "check", "--no-cache", *files)
    clone.run(*ruff, "format", "--no-cache", "--check", *files)


def test_the_chinese_tutorial_has_the_same_commands_and_files():
    assert blocks(CHINESE) == blocks(PAGES[0])
