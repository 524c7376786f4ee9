"""dingbridge in somebody else's repository, with packages called as our folders, and with DingTalk's own SDK,
which is called ``dingtalk``. Theirs installed before ours and after it, and on the path as folders; ours
editable, and from the sdist.
"""

import json
import shutil
import signal
import subprocess
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.support.clone import LEFT_OUT, ROOT, virtual_environment
from tests.support.processes import environment, free_port
from tests.support.waiting import wait_until

CONSUMER = """
import schemas
from sqlalchemy import Column, MetaData, Table, Text

from dingbridge import Consumer, Event, Transaction

tables = MetaData()
bills = Table("bills", tables, Column("id", Text, primary_key=True))


class Billing(Consumer):
    name = schemas.NAME
    topics = ("bpms_instance_change",)
    metadata = tables

    async def handle(self, event: Event, tx: Transaction, prepared: object) -> None:
        await tx.upsert(bills, {"id": event.id}, ["id"])
"""
TEST = """
import dingtalk
import schemas
from consumers.billing import Billing, bills
from sqlalchemy import select

from dingbridge.events.examples import example_callbacks
from dingbridge.testing import recorded


async def test_a_bill(running, tmp_path):
    assert (schemas.NAME, dingtalk.THEIRS) == ("billing", True)
    (tmp_path / "event.json").write_text(__import__("json").dumps(example_callbacks("bpms_instance_change")))
    async with running(Billing()) as runtime:
        for record in recorded(tmp_path):
            assert (await runtime.deliver(record)).kind == "done"
        assert len(await runtime.rows(select(bills))) == 3
"""
PYTEST_INI = "[pytest]\nasyncio_mode = auto\naddopts = -p dingbridge.testing.plugin\n"
PACKAGES = ("consumers", "console", "ingress", "simulator", "schemas", "dev")
PROJECT = f"""
[project]
name = "theirs"
version = "1.0"

[project.entry-points."dingbridge.consumers"]
billing = "consumers.billing:Billing"

[tool.setuptools]
packages = {list(PACKAGES)}
"""
IMPORTED = f"""
import sys
from importlib import import_module
from importlib.metadata import entry_points

for name in {PACKAGES}:
    assert import_module(name).OWNER == "theirs", name
for group in ("dingbridge.commands", "dingbridge.consumers", "dingbridge.checks"):
    for point in entry_points(group=group):
        point.load()
for name in {PACKAGES}:
    assert sys.modules[name].OWNER == "theirs", name
"""


class Repository:
    """Theirs, at ``path``, and the environment that both are installed in, by their ``order``."""

    def __init__(self, folder: Path, ours: str, order: str) -> None:
        self.path = folder / "theirs"
        files = {f"{name}/__init__.py": 'OWNER, NAME = "theirs", "billing"\n' for name in PACKAGES}
        files |= {"consumers/billing.py": CONSUMER, "tests/test_billing.py": TEST}
        files |= {"pytest.ini": PYTEST_INI, "pyproject.toml": PROJECT}
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        clone = folder / "dingbridge"
        shutil.copytree(ROOT, clone, ignore=LEFT_OUT, symlinks=True)
        self.bin = virtual_environment(folder / "venv") / "bin"
        self.env = environment(
            {
                f"DINGTALK_{name}": SAMPLE_CREDENTIALS[f"DINGTALK_{name}"]
                for name in ("TOKEN", "AES_KEY", "CORP_ID")
            },
            {"DINGTALK_OWNER_KEY": SAMPLE_CREDENTIALS["DINGTALK_OWNER_KEY"], "DINGTALK_APP_KEY": ""},
            {"DINGTALK_API_BASE": "http://127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            {"INGRESS_PORT": str(free_port()), "ADMIN_PORT": str(free_port())},
            {"JOURNAL_ALLOW_UNSAFE": "1"},
            {"DATA_DIR": str(folder / "data"), "PIP_NO_INDEX": "1"},
        )
        installs = {"ours": partial(self._install_ours, clone, ours), "theirs": partial(self._pip, self.path)}
        for name in order.split():
            installs[name]()
        [site] = (folder / "venv").glob("lib/python*/site-packages")
        (site / "dingtalk").mkdir()
        (site / "dingtalk" / "__init__.py").write_text("THEIRS = True\n")

    def _install_ours(self, clone: Path, how: str) -> None:
        if how == "editable":
            self._pip("--editable", clone)
            return
        build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
        made = subprocess.run(
            [self.bin / "python", "-c", build], cwd=clone, check=True, env=self.env, capture_output=True
        )
        self._pip(clone / "dist" / made.stdout.decode().split()[-1])
        shutil.rmtree(clone)

    def _pip(self, *what: str | Path) -> None:
        pip = [str(self.bin / "python"), "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, *what], check=True, env=self.env)

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """A program of the environment, run in the repository."""
        program, *rest = arguments
        done = subprocess.run(
            [self.bin / program, *rest],
            cwd=self.path,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{arguments} ended: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done


@pytest.fixture(params=[("editable", "theirs ours"), ("sdist", "ours theirs")], ids=" ".join)
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return Repository(tmp_path, *request.param)


def findings_of(theirs: Repository) -> dict[str, list[dict[str, object]]]:
    """By code, what the doctor says; there is no Kafka, so it is no success."""
    told = json.loads(theirs.run("dingbridge", "doctor", "--json", code=1).stdout)
    found: dict[str, list[dict[str, object]]] = {}
    for finding in told["findings"]:
        found.setdefault(finding["code"], []).append(finding["values"])
    return found


def test_it_works_in_a_repository_that_has_such_names_too(theirs: Repository) -> None:
    theirs.run("python", "-c", IMPORTED)  # run in the repository: its folders come first
    theirs.env["PYTHONPATH"] = str(theirs.path)
    assert "1 passed" in theirs.run("python", "-m", "pytest", "-q").stdout
    said = theirs.run("dingbridge", "consume", "billing", "--show", code=1).stderr
    assert "start it first" in said
    ready = f"http://127.0.0.1:{theirs.env['ADMIN_PORT']}/readyz"
    ingress = subprocess.Popen([theirs.bin / "dingbridge", "ingress"], cwd=theirs.path, env=theirs.env)
    try:

        def answers() -> bool:
            assert ingress.poll() is None
            try:
                with urllib.request.urlopen(ready, timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_until(answers, what="the ingress is ready")
        found = findings_of(theirs)
        assert {"ingress.ok", "disk.unsafe_allowed", "disk.ok"} & found.keys()
        assert "settings.consumer" not in found  # our samples load beside their package of the same name
        assert "doctor.check" not in found
    finally:
        ingress.send_signal(signal.SIGTERM)
        assert ingress.wait(60) == 0
