"""The alerts by Prometheus' own tool: they parse, and fire on what they are for and on nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    tool = Path(os.environ["PROMTOOL"]).absolute()
    return subprocess.run([tool, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=300)


def test_the_rules_and_the_configurations_are_valid():
    """But for kubernetes.yml, read by tests/lint/test_deploy.py: Debian's build has no discovery there."""
    checks = ("rules", "rules.yml"), ("config", "prometheus.yml"), ("config", "compose.yml")
    for arguments in (("check", *check) for check in checks):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(p.name for p in FOLDER.glob("*.test.yml")))
def test_alerts_fire_when_they_should_and_are_silent_otherwise(file):
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
