"""The built wheel by itself: an author of consumers needs no extra, each part no other than its own, and a
command without its extra says which.
"""

import json
import os
import re
import subprocess
from importlib.metadata import PathDistribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.clone import ROOT
from tests.support.processes import Process, environment, free_port
from tests.support.wheels import build_wheel, environment_of, link, requirements

EXTRA = {"ingress": "ingress", "console": "console", "simulator": "simulator"}
"""The extra that a command needs."""
HELP = """
import contextlib, io, json, sys
from dingbridge.cli import main

ended = {}
for name in main.COMMANDS:
    sys.argv = ["dingbridge", name, "--help"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main.main()
    except SystemExit as error:
        ended[name] = [error.code, said.getvalue()]
print(json.dumps(ended))
"""
AUTHORED = """
from sqlalchemy import Column, MetaData, Table, Text, select

from dingbridge import Consumer, Event, Transaction
from dingbridge.events.examples import example_callbacks
from dingbridge.testing import recorded

tables = MetaData()
bills = Table("bills", tables, Column("id", Text, primary_key=True))


class Billing(Consumer):
    name = "billing"
    topics = ("bpms_instance_change",)
    metadata = tables

    async def handle(self, event: Event, tx: Transaction, prepared: object) -> None:
        await tx.upsert(bills, {"id": event.id}, ["id"])


async def test_bills(running, tmp_path):
    (tmp_path / "event.json").write_text(__import__("json").dumps(example_callbacks("bpms_instance_change")))
    async with running(Billing()) as runtime:
        for record in recorded(tmp_path):
            assert (await runtime.deliver(record)).kind == "done"
        assert len(await runtime.rows(select(bills))) == 3
"""
MODULES = """
import importlib, pkgutil, sys

package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.startswith(tuple(sys.argv[2:])):
        importlib.import_module(module.name)
"""


class Author:
    """``python`` has the wheel, what it needs without its extras, and pytest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheel = build_wheel(folder)
        self.python = environment_of(self.wheel, folder / "venv", "pytest", "pytest-asyncio")
        [dist_info] = folder.glob("venv/lib/python*/site-packages/dingbridge-*.dist-info")
        self.ours = PathDistribution(dist_info)

    def run(self, *arguments: str, extra: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        if extra:
            env["PYTHONPATH"] = str(self.folder / extra)
            link(self.folder / extra, requirements(self.ours, extra))
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Author:
    return Author(tmp_path_factory.mktemp("author"))


def test_the_wheel_holds_one_name(author: Author) -> None:
    names = {name.split("/")[0] for name in ZipFile(author.wheel).namelist()}
    assert names == {"dingbridge", f"dingbridge-{author.ours.version}.dist-info"}


def test_without_an_extra_all_commands_work_but_those_that_name_theirs(author: Author) -> None:
    ended = json.loads(author.run("-c", HELP).stdout)
    assert {name for name, (code, _) in ended.items() if code} == EXTRA.keys()
    for name, extra in EXTRA.items():
        code, said = ended[name]
        assert (code, said.count("\n")) == (2, 1)
        assert f"install dingbridge[{extra}]" in said
    listed = author.run("-m", "dingbridge.cli.main", "--help").stdout
    assert all(name in listed for name in EXTRA)


def test_an_authors_test_runs_without_an_extra(author: Author) -> None:
    (author.folder / "test_billing.py").write_text(AUTHORED)
    options = ("-q", "-o", "asyncio_mode=auto", "-p", "dingbridge.testing.plugin")
    assert "1 passed" in author.run("-m", "pytest", *options, "test_billing.py").stdout
    # and it runs, by the loop that there is; of a Kafka that is not there it says so
    arguments = [str(author.python), "-m", "dingbridge.cli.main", "consume", "test_billing.py:Billing"]
    env = environment({"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"})
    consumer = Process("billing", arguments, log=author.folder / "log", env=env, cwd=author.folder)
    consumer.wait_for_log("kafka.unavailable")
    assert consumer.stop() == 0
    assert "Traceback" not in consumer.log_text()


def test_each_part_needs_nothing_but_its_extra(author: Author) -> None:
    others = ["dingbridge.console", "dingbridge.ingress.cli"]
    author.run("-c", MODULES, "dingbridge", *others, "dingbridge.tracing.otel")
    for extra in set(EXTRA.values()):
        author.run("-c", MODULES, f"dingbridge.{extra}", "no other", extra=extra)


def test_what_is_pinned_for_the_image_is_all_of_it(author: Author) -> None:
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for requirement in {*requirements(author.ours), *requirements(author.ours, "all")}:
        name = canonicalize_name(Requirement(requirement).name)
        assert name == "dingbridge" or re.search(rf"(?m)^{name}(\[.*\])?==", pins), requirement
