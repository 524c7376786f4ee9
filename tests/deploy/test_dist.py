"""What a release is made of, and what GitHub is told to do with it."""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"


def output(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a release but for the image, built twice, which gave the same bytes."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    output(ROOT / "scripts" / "dist", "--check", "--no-image", folder)
    return folder


def test_the_checksums_are_those_of_all_that_is_released(dist: Path) -> None:
    listed = dict(line.split()[::-1] for line in (dist / "SHA256SUMS").read_text().splitlines())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir()}
    del found["SHA256SUMS"]
    assert listed == found
    kinds = {re.sub(r"^dingbridge-[\d.]+\d", "", name) for name in found}
    assert kinds == {"-py3-none-any.whl", ".tar.gz", ".cdx.json", "requirements.txt"}


def test_the_sdist_is_the_commit_with_its_links(dist: Path) -> None:
    """So what is tried in a clone can be tried in it, and an image be built of it."""
    [path] = dist.glob("*.tar.gz")
    root = path.name.removesuffix(".tar.gz")
    with tarfile.open(path) as sdist:
        members = {member.name.removeprefix(f"{root}/"): member for member in sdist if not member.isdir()}
    committed = output("git", "ls-tree", "-r", "--name-only", "-z", "HEAD").split("\0")[:-1]
    assert members.keys() == {*committed, "PKG-INFO"}
    assert members["dingbridge/ingress"].linkname == "../ingress"
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}


def test_the_sbom_names_every_pin_with_its_hashes(dist: Path) -> None:
    [path] = dist.glob("*.cdx.json")
    sbom = json.loads(path.read_text(encoding="utf-8"))
    named = {
        (part["name"], part["version"], entry["content"])
        for part in sbom["components"]
        for entry in part["externalReferences"][0]["hashes"]
    }
    requirements = (dist / "requirements.txt").read_text(encoding="utf-8")
    pins = re.split(r"^(?=\w)", requirements, flags=re.MULTILINE)[1:]
    wanted = {
        (*re.match(r"([\w.-]+)(?:\[.*?\])?==([\w.!+-]+)", pin).groups(), digest)
        for pin in pins
        for digest in re.findall(r"--hash=sha256:(\w+)", pin)
    }
    assert named == wanted
    of_itself = sbom["metadata"]["component"]
    assert path.name == f"{of_itself['name']}-{of_itself['version']}.cdx.json"


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", "workflows/*.yml"),
        ("custom.github-workflows-require-timeout", "workflows/*.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", "ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_github_takes_its_files(schema: str, files: str) -> None:
    """GitHub's schemas, as check-jsonschema ships them."""
    found = sorted(GITHUB.glob(files))
    assert found
    output(Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", schema, *found)
