"""The profile ``observe`` of docker-compose.yml: Prometheus and Grafana find processes, rules, dashboards.

Grafana itself is untried: no image of it is had here.
"""

import re
from pathlib import Path

import pytest
import yaml

from tests.support.compose_files import ROOT, rendered
from tests.support.promql import BOARDS

SERVICES = rendered()
OBSERVERS = {name: service for name, service in SERVICES.items() if service.get("profiles") == ["observe"]}
EACH = pytest.mark.parametrize("name", OBSERVERS)


def mounted(name: str, inside: str) -> Path:
    """What the service finds at a path, in this repository."""
    for volume in OBSERVERS[name]["volumes"]:
        source, target, *mode = volume.split(":")
        if source.startswith("./") and Path(inside).is_relative_to(target):
            assert mode == ["ro"]
            return ROOT / source / Path(inside).relative_to(target)
    raise AssertionError(f"{name} has nothing at {inside}")


def config(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def scrape() -> dict:
    [given] = [o for o in OBSERVERS["prometheus"]["command"] if o.startswith("--config.file=")]
    return config(mounted("prometheus", given.partition("=")[2]))


@EACH
def test_they_have_no_rights_that_they_do_not_need_and_are_reached_from_this_machine_alone(name):
    service = OBSERVERS[name]
    assert re.fullmatch(r"\S+:v?\d+\.\d+\.\d+", service["image"]), "an image that is another one tomorrow"
    assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] not in ("root", "0")
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_every_process_of_ours_is_asked_at_its_private_listener():
    ours = {
        f"{name}:{service['environment']['ADMIN_PORT']}"
        for name, service in SERVICES.items()
        if (service.get("environment") or {}).get("ADMIN_HOST") == "0.0.0.0"
    }
    asked = set()
    for job in scrape()["scrape_configs"]:
        assert "dingbridge" in job["job_name"], "the alerts look for it"
        asked |= {target for group in job.get("static_configs", ()) for target in group["targets"]}
        asked |= {f"{n}:{dns['port']}" for dns in job.get("dns_sd_configs", ()) for n in dns["names"]}
    assert asked == ours
    assert scrape()["rule_files"] == ["rules.yml"]


def test_grafana_asks_that_prometheus_and_shows_all_dashboards():
    [source] = config(mounted("grafana", "/etc/grafana/provisioning/datasources/prometheus.yml"))[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scrape()["global"]["scrape_interval"]
    [provider] = config(mounted("grafana", "/etc/grafana/provisioning/dashboards/dingbridge.yml"))[
        "providers"
    ]
    assert mounted("grafana", provider["options"]["path"]) == BOARDS
    home = OBSERVERS["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted("grafana", home).is_file()


def test_nobody_can_change_grafana():
    environment = OBSERVERS["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true", "else it is admin, admin"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
