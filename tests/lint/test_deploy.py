"""What ``deploy/`` says of our processes is so. Whether Kubernetes takes it is tests/deploy's business."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

import dingbridge.settings
from dev.settings_doc import SECTIONS
from dingbridge.console.settings import ConsoleSettings
from dingbridge.consumers.outbound.settings import OutboundSettings
from dingbridge.health_server import is_own_name
from dingbridge.settings import ConsumerLimits, ConsumerSettings, IngressSettings, Settings
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.worker.api.budget import SHARES
from dingbridge.worker.registry import load_consumer
from tests.support.compose_files import TRIAL, example_env, rendered
from tests.support.helm import SCHEMA
from tests.support.manifests import (
    FOLDER,
    container,
    documents,
    environment_of,
    kustomization,
    of_kind,
    pod,
    workloads,
)

ROOT = Path(__file__).parents[2]
DATA_DIR = re.search(r"DATA_DIR=(\S+)", (ROOT / "Dockerfile").read_text()).group(1)
FILLED_IN = example_env(
    DINGTALK_APP_KEY="dingkey",
    DINGTALK_APP_SECRET="secret of the app",
    DINGTALK_TOKEN="secretToken",
    DINGTALK_AES_KEY="k" * 43,
    DINGTALK_OWNER_KEY="dingkey",
    DINGTALK_CORP_ID="dingcorp",
    POSTGRES_PASSWORD="secretOfTheDatabase",
)
"""The .env of a real app."""
BY_THE_CHART = re.compile(
    r"KAFKA_(BOOTSTRAP|SECURITY|SASL|SSL).*|DINGTALK_(APP_KEY|APPS_FILE|OWNER_KEY|CORP_ID|MODE)|API_MONTHLY_BUDGET"
    r"|ADMIN_.*|INGRESS_(HOST|PORT|REUSE_PORT)|DATA_DIR|JOURNAL_DIR|CONSOLE_(HOST|JOURNALS|LISTENERS|PORT|SOCKET)|SHUTDOWN_TIMEOUT_S"
)
"""Settings that other values of the chart stand for, or that probes, volumes and Services count on."""
PROXIES = {"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}
"""Variables that a value file may set beside settings."""
APP = tuple(FILLED_IN["COMPOSE_FILE"].split(":"))
SETTINGS = {
    "ingress": IngressSettings,
    "ingress-2": IngressSettings,
    "address-sync": ConsumerSettings,
    "approval": ConsumerSettings,
    "outbound": ConsumerSettings,
}
IN_COMPOSE = SETTINGS | {"console": ConsoleSettings}  # else a consumer, as one that new-consumer wrote


def test_every_manifest_is_applied_but_the_examples():
    files = {p.name for p in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "keda.yaml"}
    assert {f for f in files if ".example." not in f} == set(kustomization()["resources"])


def example_secrets() -> dict[str, str]:
    """The texts of the example, by ``<secret>/<key>``."""
    found = {
        f"{secret['metadata']['name']}/{key}": value
        for secret in documents("secrets.example.yaml")
        for key, value in secret["stringData"].items()
    }
    return found | {"dingbridge-callback/aes-key": "a" * 43}


def environment(workload, folder):
    """The environment that the pod gets; secrets stand in files below ``folder``."""
    [settings] = of_kind("ConfigMap")
    sources = [v["projected"]["sources"] for v in pod(workload)["volumes"] if "projected" in v]
    wanted = {
        f"{source['secret']['name']}/{item['key']}"
        for volume in sources
        for source in volume
        for item in source["secret"]["items"]
    }
    assert wanted <= example_secrets().keys()
    return environment_of(workload, settings, example_secrets(), folder)


@pytest.mark.parametrize("env", [{}, FILLED_IN], ids=["trial", "real app"])
def test_the_months_api_calls_are_counted_on_volumes_that_outlive_their_processes(env):
    """Who shares a volume shares a count; every count gets a part of the one budget, the ingress's too, which
    reads DingTalk's list. In compose the consumers share theirs, on Kubernetes each pod has its own."""
    most = ConsumerSettings.model_fields["api_monthly_budget"].default
    services = rendered(APP if env else TRIAL, env)
    named = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["volumes"]
    parts = {}
    for service in services.values():
        if service.get("command", [""])[0] not in ("ingress", "consume"):
            continue
        [volume] = [v.split(":")[0] for v in service["volumes"] if v.split(":")[1] == DATA_DIR]
        assert volume in named
        if service["environment"].get("RECOVERY_EVERY_MINUTES") == "0":
            continue  # an ingress that does not read the list calls nothing
        part = int(service["environment"]["API_MONTHLY_BUDGET"])
        assert parts.setdefault(volume, part) == part, "one count, one limit"
    assert len(parts) == 2
    assert 0 < sum(parts.values()) <= most
    by_the_hour = 31 * 24  # a call each; tokens are exempt
    assert parts["journal"] * SHARES["recovery"] > by_the_hour

    for workload in workloads().values():
        given = {e["name"]: e["value"] for e in container(workload)["env"]}
        if "DINGTALK_APP_SECRET_FILE" in given:  # it calls the API
            assert "DATABASE_URL_FILE" in given, "they count in one database"
            assert "API_MONTHLY_BUDGET" not in given, "one count, one limit"


def test_a_real_app_shares_neither_project_nor_volumes_with_the_trial():
    """A volume of the trial holds an invented company, and a database with another password."""
    assert set(TRIAL) < set(APP)
    project = FILLED_IN["COMPOSE_PROJECT_NAME"]
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project)
    assert project != "dingbridge", "the name of a clone's folder, so the trial's"
    for file in APP:
        parsed = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
        assert "name" not in parsed
        for volume in (parsed.get("volumes") or {}).values():
            assert not volume, "a volume with a name of its own, or of nobody's project"


@pytest.mark.parametrize("service", SETTINGS)
@pytest.mark.parametrize("mode", ["http", "stream"])
def test_a_copied_and_filled_in_example_of_env_is_all_that_a_real_app_needs(service, mode, monkeypatch):
    """Also the company: without it address-sync reads nothing at its first start."""
    for_stream = dict.fromkeys(("DINGTALK_TOKEN", "DINGTALK_AES_KEY", "DINGTALK_OWNER_KEY"), "")
    env = FILLED_IN if mode == "http" else FILLED_IN | for_stream | {"DINGTALK_MODE": "stream"}
    for variable, value in rendered(APP, env)[service]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = SETTINGS[service].load()
    assert getattr(settings, "dingtalk_mode", mode) == mode
    assert settings.dingtalk_api_base == "https://oapi.dingtalk.com"
    assert settings.api_credentials() == ("dingkey", "secret of the app")
    assert ConsumerSettings.load().dingtalk_corp_id == "dingcorp"


@pytest.mark.parametrize("own", [set(), {"kafka"}, {"postgres"}, {"kafka", "postgres"}])
def test_a_server_of_ones_own_takes_the_place_of_the_stacks(own):
    """Without its name in COMPOSE_PROFILES it is not started, and nobody waits for it."""
    profiles = set(FILLED_IN["COMPOSE_PROFILES"].split(",")) - own
    given = {"KAFKA_BOOTSTRAP_SERVERS": "k.example.com:9093"} if "kafka" in own else {}
    given |= {"DATABASE_URL": "postgresql://u:p@d.example.com/oa"} if "postgres" in own else {}
    services = rendered(APP, FILLED_IN | given)
    up = {n for n, s in services.items() if not s.get("profiles") or profiles & set(s["profiles"])}
    assert up >= set(SETTINGS) - {"ingress-2"}  # of the profile `edge`
    assert up & {"kafka", "postgres", "simulator", "register"} == {"kafka", "postgres"} - own
    for name in up & set(SETTINGS):
        environment = services[name]["environment"]
        assert environment["KAFKA_BOOTSTRAP_SERVERS"] == given.get("KAFKA_BOOTSTRAP_SERVERS", "kafka:19092")
        database = given.get("DATABASE_URL", "@postgres:5432/") if name != "ingress" else ""
        assert database in environment["DATABASE_URL"]
        for needed, condition in services[name].get("depends_on", {}).items():
            assert needed in up or condition["required"] is False
            assert condition["condition"] in ("service_healthy", "service_completed_successfully")


def test_with_compose_a_container_of_a_real_app_has_no_secret_that_its_process_does_not_use():
    """Kubernetes mounts them one by one; ``env_file`` gives all, so what is not used is set to nothing."""
    every = [cls for cls in vars(dingbridge.settings).values() if isinstance(cls, type)]
    secrets = {
        field.upper()
        for cls in every
        if issubclass(cls, Settings)
        for field, info in cls.model_fields.items()
        if "SecretStr" in str(info.annotation)
    }
    assert {"DINGTALK_AES_KEY", "DINGTALK_APP_SECRET", "DATABASE_URL", "KAFKA_SASL_PASSWORD"} <= secrets
    given = FILLED_IN | {name: "secret" for name in secrets - FILLED_IN.keys()}
    services = rendered(APP, given)
    for name, service in services.items():
        held = {n for n in (*secrets, "POSTGRES_PASSWORD") if service.get("environment", {}).get(n)}
        if name == "postgres":
            assert held == {"POSTGRES_PASSWORD"}
        elif "env_file" in service:
            cls = IN_COMPOSE.get(name, ConsumerSettings)
            used = {n for n in secrets if n.lower() in cls.model_fields}
            if cls is IngressSettings:  # reachable from outside: it counts its few calls in a file of its own
                used.remove("DATABASE_URL")
            assert held == used
        elif "simulator" not in service.get("profiles", []):
            assert not held, name


def test_no_setting_in_env_moves_a_container_from_its_published_ports_and_its_volume(monkeypatch):
    """What ``ports``, ``volumes`` and ``healthcheck`` count on: on the host there are others to change."""
    elsewhere = {"INGRESS_HOST": "127.0.0.1", "INGRESS_PORT": "9000", "DATA_DIR": "/srv/data"}
    elsewhere |= {"ADMIN_HOST": "127.0.0.1", "ADMIN_PORT": "9001"}
    for name, service in rendered(APP, FILLED_IN | elsewhere).items():
        if "env_file" not in service:
            continue
        with monkeypatch.context() as inside:
            for variable, value in service["environment"].items():
                inside.setenv(variable, value)
            settings = IN_COMPOSE.get(name, ConsumerSettings).load()
        if name == "console":
            asked = settings.console_host, settings.console_port
        else:
            asked = settings.admin_host, settings.admin_port
        assert asked[0] == "0.0.0.0"
        listens = {asked[1]}
        if name == "ingress":
            listens.add(settings.ingress_port)
            assert settings.ingress_host == "0.0.0.0"
        assert {int(port.rsplit(":", 1)[1]) for port in service.get("ports", [])} <= listens
        # a consumer waits while DingTalk does not answer, and a restart would not help it
        path = "readyz" if isinstance(settings, IngressSettings) else "healthz"
        assert f"http://127.0.0.1:{asked[1]}/{path}'" in service["healthcheck"]["test"][-1]
        assert str(settings.data_dir) in {volume.split(":")[1] for volume in service["volumes"]}


def test_the_example_of_stream_on_kubernetes_starts_as_it_stands(tmp_path, monkeypatch):
    [ingress] = [d for d in documents("stream.example.yaml") if d["kind"] == "StatefulSet"]
    for variable, value in environment(ingress, tmp_path).items():
        monkeypatch.setenv(variable, value)
    settings = IngressSettings.load()
    assert (settings.dingtalk_mode, settings.recovery_every_minutes) == ("stream", 0)
    assert settings.api_credentials() == ("your-client-id", "your-client-secret")
    [policy] = [d for d in documents("stream.example.yaml") if d["kind"] == "NetworkPolicy"]
    labels = workloads()["ingress"]["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    [rule] = policy["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [443]


def test_the_charts_schema_knows_the_settings_that_there_are():
    secret, own = SecretStr, (ConsumerLimits, SimulatorSettings)
    names = {
        field.upper()
        for _, _, cls in SECTIONS
        if cls not in own
        for field, info in cls.model_fields.items()
        if secret not in (info.annotation, *getattr(info.annotation, "__args__", ()))
    }
    found = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]["settings"]
    assert found["additionalProperties"] is False
    taken = {name for name in names | PROXIES if not BY_THE_CHART.fullmatch(name)}
    assert found["properties"] == {name: {"$ref": "#/$defs/value"} for name in taken}
    [of_one] = found["patternProperties"]
    limits = "|".join(field.upper() for field in ConsumerLimits.model_fields)
    assert of_one == f"^[A-Z][A-Z0-9_]*_({limits})$"


def forward(name, environment, toml, monkeypatch, folder):
    """What ``dingbridge consume <name>`` makes first: a consumer, past its settings and its secrets."""
    file = folder / "forward.toml"
    file.write_text(toml, encoding="utf-8")
    for variable, value in (environment | {"FORWARD_FILE": str(file)}).items():
        monkeypatch.setenv(variable, value)
    ConsumerSettings.load()
    return load_consumer(name)()


def test_the_example_of_forward_on_kubernetes_starts_as_it_stands(tmp_path, monkeypatch):
    by_kind = {document["kind"]: document for document in documents("forward.example.yaml")}
    assert set(by_kind) == {"ConfigMap", "Deployment", "NetworkPolicy"}
    spec = container(by_kind["Deployment"])
    volumes = {v["name"]: v for v in pod(by_kind["Deployment"])["volumes"]}
    mounts = {m["mountPath"]: volumes[m["name"]] for m in spec["volumeMounts"]}
    found = environment(by_kind["Deployment"], tmp_path)
    file = Path(found.pop("FORWARD_FILE"))
    assert mounts[str(file.parent)]["configMap"]["name"] == by_kind["ConfigMap"]["metadata"]["name"]
    verb, name = spec["args"]
    assert verb == "consume"
    assert forward(name, found, by_kind["ConfigMap"]["data"][file.name], monkeypatch, tmp_path).name == name
    # the root is read-only, and what a consumer writes has a place all the same
    for place in (DATA_DIR, "/tmp"):
        assert mounts[place].keys() == {"name", "emptyDir"}
        assert not any(m.get("readOnly") for m in spec["volumeMounts"] if m["mountPath"] == place)
    # let out
    [component] = by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchExpressions"]
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels[component["key"]] in component["values"]


def test_the_example_of_the_console_on_kubernetes_starts_as_it_stands(tmp_path, monkeypatch):
    [workload] = [d for d in documents("console.example.yaml") if d["kind"] == "StatefulSet"]
    spec, only = container(workload), pod(workload)
    for variable, value in (environment(workload, tmp_path) | {"DATA_DIR": DATA_DIR}).items():
        monkeypatch.setenv(variable, value)
    console = ConsoleSettings.load()
    assert {port["name"]: port["containerPort"] for port in spec["ports"]} == {
        "console": console.console_port
    }
    # every pod is asked, by the name that its service gives it, at its private listener
    pods = {
        (name, f"{w['metadata']['name']}-{number}.{w['spec']['serviceName']}")
        for name, w in workloads().items()
        for number in range(w["spec"]["replicas"])
    }
    asked = [(name, *address.removeprefix("http://").split(":")) for name, address in console.listeners]
    assert {(name, host) for name, host, _ in asked} == pods
    for name, _, port in asked:
        ports = container(workloads()[name])["ports"]
        named = {p["containerPort"]: p["name"] for p in ports}
        assert named[int(port)] == "admin"
    assert all(is_own_name(host, console.admin_names) for _, host, _ in asked), "else they answer 403"
    # its users become a file for its owner alone, where it looks for it
    [users] = only["initContainers"]
    assert users["command"][:3] == ["install", "-m", "600"]
    assert users["command"][-1] == str(console.users_file)
    assert users["securityContext"] == container(workloads()["approval"])["securityContext"]
    # the database's address, and not the app's secret
    [mounted] = [v["projected"]["sources"] for v in only["volumes"] if v["name"] == "secrets"]
    assert [source["secret"]["name"] for source in mounted] == ["dingbridge-database"]


def test_the_guides_compose_file_runs_a_system_of_forward(tmp_path, monkeypatch):
    guide = (ROOT / "docs" / "guide" / "forward.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    [toml] = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    [(name, service)] = yaml.safe_load(block)["services"].items()
    stack = rendered((service["extends"]["file"],))
    assert stack[service["extends"]["service"]]["command"][0] == "consume"
    verb, named = service["command"]
    assert (verb, named) == ("consume", name)
    inside = {volume.split(":")[1] for volume in service["volumes"]}
    assert service["environment"]["FORWARD_FILE"] in inside
    assert f"`{service['env_file']}`" in guide, "where the secret stands"
    given = stack[service["extends"]["service"]]["environment"] | service["environment"]
    given["SYSTEM_A_SECRET"] = "whsec_" + "YWJj" * 8
    given["FORWARD_ALLOW_NETWORKS"] = "10.20.0.0/16"  # as the guide says for its system b
    assert forward(name, given, toml, monkeypatch, tmp_path).name == name


def test_the_guides_compose_file_gives_outbound_its_owners():
    guide = (ROOT / "docs" / "guide" / "both-directions.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    [(name, service)] = yaml.safe_load(block)["services"].items()
    assert rendered()[name]["command"] == ["consume", "outbound"]
    [volume] = service["volumes"]
    assert service["environment"]["OUTBOUND_OWNERS"] == volume.split(":")[1]
    assert set(service["environment"]) <= {field.upper() for field in OutboundSettings.model_fields}
