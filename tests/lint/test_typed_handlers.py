"""What a type checker tells the author of a consumer: mypy, run on an author's file."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
AUTHOR = ROOT / "tests" / "lint" / "author.py"
GUIDE = ROOT / "docs" / "guide" / "writing-a-consumer.md"


def test_mypy_tells_an_author_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    guide = tmp_path / "guide.py"  # the class that the guide shows is right as it stands
    guide.write_text(re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)[0])
    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(AUTHOR), str(guide)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert said.returncode == 1, said.stdout + said.stderr
    errors = re.findall(r"^(.+?):(\d+): error: (.*?)(?:  \[[\w-]+\])?$", said.stdout, re.MULTILINE)
    expected = {
        (AUTHOR.name, number): line.partition("# E: ")[2]
        for number, line in enumerate(AUTHOR.read_text().splitlines(), 1)
        if "# E: " in line and '"""' not in line
    }
    found = {(Path(file).name, int(line)): words for file, line, words in errors}
    assert found.keys() == expected.keys(), said.stdout
    for place, words in expected.items():
        assert words in found[place]
