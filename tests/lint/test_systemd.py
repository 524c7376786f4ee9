"""What ``deploy/systemd`` says of our processes is so. That systemd takes it is tests/deploy's business."""

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from dingbridge.console.settings import ConsoleSettings
from dingbridge.settings import ConsumerSettings, IngressSettings
from tests.support.documents import ROOT
from tests.support.units import UNITS, unit

SETTINGS = {
    "dingbridge-ingress.service": IngressSettings,
    "dingbridge-consumer@.service": ConsumerSettings,
    "dingbridge-console.service": ConsoleSettings,
}
EACH = pytest.mark.parametrize("name", SETTINGS)


def test_every_unit_is_tried():
    assert {path.name for path in UNITS} == set(SETTINGS)


@EACH
def test_it_runs_a_command_of_ours_with_settings_that_exist(name):
    service = unit(name)["Service"]
    [line] = service["ExecStart"]
    program, command, *rest = shlex.split(line)
    assert Path(program).name == "dingbridge"
    assert command in {point.name for point in entry_points(group="dingbridge.commands")}
    assert rest == (["%i"] if "@" in name else [])
    [given] = service["Environment"]
    environment = dict(item.split("=", 1) for item in shlex.split(given))
    assert {field.lower() for field in environment} <= SETTINGS[name].model_fields.keys()
    # what it writes stands where ProtectSystem lets it, for its own user alone
    assert environment["DATA_DIR"] == f"/var/lib/{service['StateDirectory'][0]}"
    assert (service["StateDirectoryMode"], service["UMask"]) == (["0700"], ["0077"])
    assert service["User"] == ["dingbridge"]


@EACH
def test_it_is_started_again_when_it_ends_in_words_but_not_for_wrong_settings(name):
    sections = unit(name)
    service = sections["Service"]
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["2"]
    assert sections["Unit"]["StartLimitIntervalSec"] == ["0"], "else it is given up after some restarts"
    stop_s = SETTINGS[name].model_fields["shutdown_timeout_s"].default
    assert int(service["TimeoutStopSec"][0]) > stop_s + 5


@EACH
def test_units_have_no_rights_that_they_do_not_need(name):
    service = unit(name)["Service"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["ProtectSystem"] == ["strict"]
    for right in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictNamespaces"):
        assert service[right] == ["yes"], right


def test_the_guide_names_the_units_and_the_files_that_they_read():
    page = (ROOT / "docs" / "guide" / "install.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^## systemd\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    units = {name.removesuffix(".service") for name in SETTINGS}
    assert set(re.findall(r"dingbridge-\w+@?", section)) == units
    read = {Path(path.lstrip("-")) for name in SETTINGS for path in unit(name)["Service"]["EnvironmentFile"]}
    files = {path.name.replace("%i", "<consumer>") for path in read}
    assert files <= set(re.findall(r"`([\w<>-]+\.env|env)`", section))
    assert {path.parent for path in read} == {Path("/etc/dingbridge")}
