"""The demo's environment and folder; its processes are the integration test's."""

import subprocess
from pathlib import Path

import pytest

from dev.demo.processes import Processes
from dev.demo.scenario import new_folder
from dingbridge.errors import BridgeError
from dingbridge.settings import ConsumerSettings


def test_sourcing_the_environment_leaves_nothing_of_a_real_bridge(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    processes = Processes(folder, retry_scale=0.3, allow_unsafe=True, mode="http")
    processes._env["KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    path = processes.write_environment()
    real = {
        "PATH": "/usr/bin:/bin",
        "DATABASE_URL": "postgresql://real",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "DINGTALK_APP_SECRET_FILE": "/run/secrets/real",
        "DINGTALK_APP_KEY": "real",
        "TOPIC_PREFIX": "real.",
    }
    done = subprocess.run(
        ["sh", "-c", '. "$0" && env', str(path)], env=real, capture_output=True, text=True, check=True
    )
    env = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert "real" not in " ".join(env.values())
    assert env["DATA_DIR"] == str(folder)
    assert env["DINGTALK_API_BASE"] == processes.url("simulator")
    assert env["JOURNAL_ALLOW_UNSAFE"] == "1"
    assert f"http://127.0.0.1:{env['INGRESS_PORT']}/callback" == processes.callback_url
    assert f"ingress={processes.url('ingress')}" in env["CONSOLE_LISTENERS"].split(",")
    assert "ADMIN_PORT" not in env, "a consumer that is started from this shell would take the ingress's"


def test_the_console_is_told_where_the_ingress_listens(tmp_path: Path) -> None:
    """Else its doctor says on Now that the ingress cannot be reached, and lines of curl lead nowhere."""
    processes = Processes(tmp_path, retry_scale=0.3, allow_unsafe=True, mode="http")
    ingress, console = processes._own["ingress"], processes._own["console"]
    assert {name: console[name] for name in ("INGRESS_HOST", "INGRESS_PORT")} == {
        name: ingress[name] for name in ("INGRESS_HOST", "INGRESS_PORT")
    }
    assert processes.callback_url == f"http://127.0.0.1:{console['INGRESS_PORT']}/callback"


def test_the_demo_s_own_client_does_not_read_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("TOPIC_PREFIX", "real.")
    processes = Processes(tmp_path, retry_scale=0.3, allow_unsafe=False, mode="http")
    processes._env["KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    settings = processes.kafka_settings
    assert (settings.kafka_security_protocol, settings.topic_prefix) == ("PLAINTEXT", "dingtalk.")
    assert settings.kafka_bootstrap_servers == "127.0.0.1:1"
    monkeypatch.setenv("DATA_DIR", processes._env["DATA_DIR"])
    for name in ("KAFKA_SECURITY_PROTOCOL", "TOPIC_PREFIX"):
        monkeypatch.delenv(name)
    assert ConsumerSettings.load().database_url_for("approval") == f"sqlite:///{tmp_path}/approval.db"


def test_each_demo_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = [new_folder(tmp_path / "data") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() and folder.parent == tmp_path / "data" / "demo" for folder in folders)


def test_a_folder_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BridgeError, match="DATA_DIR"):
        new_folder(tmp_path / "file")
