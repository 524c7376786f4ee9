"""One version, wherever it is written, and a tag that is not it releases nothing."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from dev.release import notes

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSION = tomllib.loads(PYPROJECT)["project"]["version"]


def test_one_version_is_said_everywhere():
    program = Path(sys.executable).with_name("dingbridge")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"dingbridge {VERSION}\n"
    assert version("dingbridge") == VERSION
    released = [name for name in re.findall(r"^## (\S+)", CHANGELOG, re.MULTILINE) if name != "Unreleased"]
    assert released[0] == VERSION
    chart = yaml.safe_load((ROOT / "deploy" / "helm" / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_notes_of_a_tag_are_the_changelogs_section():
    text = notes(f"v{VERSION}", PYPROJECT, CHANGELOG)
    assert text.splitlines()[0]
    assert "\n## " not in text


@pytest.mark.parametrize(
    ("tag", "changelog", "words"),
    [
        ("v9.9.9", CHANGELOG, f"tag v{VERSION}"),
        (VERSION, CHANGELOG, f"tag v{VERSION}"),
        (f"v{VERSION}rc1", CHANGELOG, f"tag v{VERSION}"),
        (f"v{VERSION}", "# Changelog\n\n## 9.9.9 - 2030-01-01\n", "0 sections"),
        (f"v{VERSION}", f"## {VERSION} - unreleased\n\nwords\n", "YYYY-MM-DD"),
        (f"v{VERSION}", f"## {VERSION}\n\nwords\n", "YYYY-MM-DD"),
    ],
)
def test_another_tag_and_an_undated_changelog_are_refused_in_words(tag, changelog, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        notes(tag, PYPROJECT, changelog)


def test_the_release_asks_for_its_notes_first_and_every_action_is_pinned():
    workflows = {
        p.name: yaml.safe_load(p.read_text()) for p in (ROOT / ".github" / "workflows").glob("*.yml")
    }
    steps = [s for w in workflows.values() for job in w["jobs"].values() for s in job.get("steps", ())]
    used = {step["uses"] for step in steps if "uses" in step}
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []
    jobs = workflows["release.yml"]["jobs"]
    assert jobs["tag"]["steps"][-1]["run"] == 'python3 -m dev.release "$GITHUB_REF_NAME"'
    assert (jobs["ci"]["needs"], jobs["release"]["needs"]) == ("tag", "ci")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(workflows["ci.yml"]["jobs"]["all"]["strategy"]["matrix"]["target"]) <= targets
