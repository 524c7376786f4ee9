"""The chart by helm itself: what it renders is valid, is what the programs take, and is what stands in
``deploy/kubernetes``; a value that it does not know is refused in words."""

import copy
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from dingbridge.console.settings import ConsoleSettings
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.outbound.settings import OutboundSettings
from dingbridge.settings import ConsumerSettings, IngressSettings
from dingbridge.worker.registry import load_consumer
from tests.support.certificates import Authority
from tests.support.documents import blocks
from tests.support.helm import CHART, DEPLOY, template
from tests.support.manifests import FOLDER, Manifest, container, documents, environment_of, pod

EXAMPLES = CHART / "examples"
PLAIN, PRODUCTION = EXAMPLES / "manifests.yaml", EXAMPLES / "production.yaml"
CASES = {
    "production": [PRODUCTION],
    "production by stream": [PRODUCTION, EXAMPLES / "stream.yaml"],
    "everything plain": [PLAIN, *(EXAMPLES / f"{name}.yaml" for name in ("console", "forward", "keda"))],
    "no ingress": [PLAIN, {"ingress": {"enabled": False}, "networkPolicies": {"enabled": False}}],
    "no consumer": [PLAIN, {"consumers": dict.fromkeys(("address-sync", "approval", "outbound"))}],
    "apps file alone": [PLAIN, {"dingtalk": {"appKey": "", "appsFile": {"existingSecret": "apps"}}}],
}
RENDERED = {
    "settings.yaml": ((), "settings"),
    "ingress.yaml": ((), "ingress"),
    "consumers.yaml": ((), "consumers"),
    "network-policies.yaml": ((), "network-policies"),
    "keda.yaml": (("keda",), "keda"),
    "stream.example.yaml": (("stream",), "ingress"),
    "forward.example.yaml": (("forward",), "forward"),
    "console.example.yaml": (("console",), "console"),
}
"""Files of deploy/kubernetes: their value files beside ``PLAIN``, and the chart's template."""
APPS = """
[apps.hr]
token = "tokenOfHr"
aes_key = "%s"
owner_keys = ["dinghr"]
corp_id = "dingcorp1"
app_key = "dinghr"
app_secret = "secret of hr"
""" % ("h" * 43)


@pytest.fixture(scope="module")
def render(tmp_path_factory):
    """What helm makes of value files, or of values laid over them; once for each."""
    rendered: dict[str, list[Manifest]] = {}

    def render(*values: Path | dict[str, Any], release: str = "dingbridge") -> list[Manifest]:
        key = f"{values} {release}"
        if key not in rendered:
            paths = [value if isinstance(value, Path) else written(value) for value in values]
            documents = template(os.environ["HELM"], *paths, release=release)
            rendered[key] = [
                yaml.load(text, yaml.CSafeLoader) for texts in documents.values() for text in texts
            ]
        return copy.deepcopy(rendered[key])

    def written(values: dict[str, Any]) -> Path:
        path = tmp_path_factory.mktemp("values") / "values.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return render


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> str:
    return Authority(tmp_path_factory.mktemp("ca")).certificate.read_text()


@cache
def definition(kind: str) -> jsonschema.protocols.Validator:
    """What the operator's own CustomResourceDefinition says, with no field beside: they would be dropped."""
    [file] = Path(os.environ["CRDS"]).glob(f"*_{kind.lower()}s.yaml")
    found = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["versions"][0]["schema"]

    def strict(part: Any) -> Any:
        if isinstance(part, dict):
            part = {name: strict(value) for name, value in part.items()}
            if isinstance(part.get("properties"), dict) and "type" in part:
                part.setdefault("additionalProperties", False)
        return part

    whole = strict(found["openAPIV3Schema"])
    whole["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(whole)


def workloads(documents: list[Manifest]) -> dict[str, Manifest]:
    return {
        d["metadata"]["labels"]["app.kubernetes.io/component"]: d
        for d in documents
        if d["kind"] in ("StatefulSet", "Deployment")
    }


def test_the_plain_manifests_are_what_the_chart_renders():
    by_hand = {"kustomization.yaml", "namespace.yaml", "secrets.example.yaml"}
    assert {path.name for path in FOLDER.iterdir()} == RENDERED.keys() | by_hand
    for name, (values, source) in RENDERED.items():
        texts = template(os.environ["HELM"], PLAIN, *(EXAMPLES / f"{value}.yaml" for value in values))[source]
        rendered = [yaml.load(text, yaml.CSafeLoader) for text in texts]
        assert documents(name) == rendered, f"deploy/kubernetes/{name}: change it as the chart"


def test_lint_finds_nothing():
    for values in ([], ["--values", str(PRODUCTION)]):
        command = [os.environ["HELM"], "lint", "--strict", "--quiet", str(CHART), *values]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_guides_values_are_enough(render):
    needed, own, routed = (
        yaml.safe_load(code) for _, code in blocks(DEPLOY.parent / "docs/guide/kubernetes.md", "yaml")
    )
    assert workloads(render(needed)).keys() == {"ingress", "address-sync", "approval", "outbound"}
    assert "Ingress" in {d["kind"] for d in render(needed, routed)}
    billing = container(workloads(render(needed, own))["billing"])
    assert (billing["image"], billing["args"]) == ("registry.example.com/billing:7", ["consume", "billing"])
    assert "BILLING_PASSWORD_FILE" in {item["name"] for item in billing["env"]}


@pytest.mark.parametrize("case", CASES)
def test_what_it_renders_is_valid_and_holds_no_secret(case, render):
    documents = render(*CASES[case])
    kinds = {d["kind"] for d in documents}
    assert "Secret" not in kinds
    names = [(d["kind"], d["metadata"]["name"]) for d in documents]
    assert len(names) == len(set(names))
    for document in documents:
        if "." in document["apiVersion"].split("/")[0].replace(".k8s.io", ""):
            definition(document["kind"]).validate(document)
            continue
        for version in ("1.30", "1.37"):
            kubernetes_validate.validate(document, version, strict=True)
    if case == "production":
        assert kinds >= {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule", "Ingress"}


@pytest.mark.parametrize("case", CASES)
def test_each_pod_starts_and_has_no_secret_that_it_does_not_use(
    case, render, authority, tmp_path, monkeypatch
):
    documents = render(*CASES[case])
    [settings] = [d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "dingbridge"]
    secrets = {"kafka-ca/ca.crt": authority, "system-a/secret": "whsec_" + "YWJj" * 8}
    secrets["dingbridge-forward-a/secret"] = secrets["system-a/secret"]
    secrets |= dict.fromkeys(
        ("postgres-dingbridge/uri", "postgres-billing/uri", "dingbridge-database/database-url"),
        "postgresql://user:password@db.example.com/oa?sslmode=verify-full",
    )
    (tmp_path / "apps.toml").write_text(APPS, encoding="utf-8")
    for name, workload in workloads(documents).items():
        found = environment_of(workload, settings, secrets, tmp_path)
        if found.get("DINGTALK_APPS_FILE"):
            mounts = {m["mountPath"] for m in container(workload)["volumeMounts"]}
            assert "/run/secrets/dingbridge-apps" in mounts
            found["DINGTALK_APPS_FILE"] = str(tmp_path / "apps.toml")
        files = {v["configMap"]["name"] for v in pod(workload)["volumes"] if "configMap" in v}
        for configuration in documents:
            if configuration["metadata"]["name"] in files and configuration["kind"] == "ConfigMap":
                for file, text in configuration["data"].items():
                    (tmp_path / file).write_text(text, encoding="utf-8")
        found |= {
            n: str(tmp_path / Path(v).name) for n, v in found.items() if v.startswith("/etc/dingbridge/")
        }
        with monkeypatch.context() as inside:
            for variable, value in found.items():
                inside.setenv(variable, value)
            started(name, found)
        assert {n for n in found if n.endswith("_FILE")} <= ALLOWED[name] | EVERYBODY, name


ROUTED = {"enabled": True, "route": {"enabled": True, "host": "console.example.com"}}
EVERYBODY = {"KAFKA_SASL_PASSWORD_FILE"}
_APP = {"DINGTALK_APP_SECRET_FILE", "DINGTALK_APPS_FILE"}
_CONSUMER = {*_APP, "DATABASE_URL_FILE"}
ALLOWED = {
    "ingress": {"DINGTALK_TOKEN_FILE", "DINGTALK_AES_KEY_FILE", *_APP},
    "address-sync": _CONSUMER,
    "approval": _CONSUMER,
    "outbound": _CONSUMER,
    "billing": {*_CONSUMER, "BILLING_PASSWORD_FILE"},
    "forward-a": {"FORWARD_FILE", "SYSTEM_A_SECRET_FILE"},
    "console": {"DATABASE_URL_FILE"},
}
"""What their pods may have: a database's address is not the ingress's, a Token nobody else's."""


def started(name: str, found: dict[str, str]) -> None:
    """What the process reads first; each raises with the mistakes."""
    if name == "ingress":
        settings = IngressSettings.load()
        assert settings.dingtalk_mode == found.get("DINGTALK_MODE", "http")
    elif name == "console":
        console = ConsoleSettings.load()
        assert all(host for host, _ in console.listeners)
        assert bool(console.own_names) is bool(console.trusted_proxies), "the route's, and who speaks for it"
    else:
        ConsumerSettings.load()
    if name == "address-sync":
        AddressSyncSettings.load()
    if name == "outbound":
        OutboundSettings.load()
    if name.startswith("forward-"):
        assert load_consumer(name)().name == name


def test_no_pod_has_rights_that_it_does_not_need(render):
    """What Pod Security's profile "restricted" asks for, and a root file system that is read-only."""
    for name, workload in workloads(render(*CASES["everything plain"])).items():
        spec = pod(workload)
        context = spec["securityContext"]
        assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"}), (
            name
        )
        assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
        for one in (*spec["containers"], *spec.get("initContainers", ())):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in one["resources"]["limits"], (
                f"{name}: a quota refuses a pod with a container without"
            )


def test_recoverys_part_of_the_months_calls_is_not_the_consumers(render):
    documents = render(PRODUCTION)
    [settings] = [d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "dingbridge"]
    ingress = container(workloads(documents)["ingress"])
    [part] = [e["value"] for e in ingress["env"] if e["name"] == "API_MONTHLY_BUDGET"]
    assert (part, settings["data"]["API_MONTHLY_BUDGET"]) == ("1300", "1998700")
    assert "RECOVERY_EVERY_MINUTES=0" in ingress["args"][0], "of several instances one reads the list"


def test_pods_are_reached_by_prometheus_and_by_nobody_else(render):
    documents = render(PRODUCTION)
    ports = {p["name"] for w in workloads(documents).values() for p in container(w)["ports"]}
    [monitor] = [d for d in documents if d["kind"] == "PodMonitor"]
    assert {e["port"] for e in monitor["spec"]["podMetricsEndpoints"]} == ports - {"callback", "console"}
    for service in (d for d in documents if d["kind"] == "Service"):
        assert {p["targetPort"] for p in service["spec"].get("ports", [])} <= {"callback", "console"}
    [kafka] = [
        d for d in documents if d["metadata"]["name"] == "dingbridge-kafka" and d["kind"] == "NetworkPolicy"
    ]
    assert kafka["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 9093}]}]
    more = {"networkPolicies": {"dnsPorts": [5353], "otherPorts": [4318]}}
    [least] = [d for d in render(PLAIN, more) if d["metadata"]["name"] == "dingbridge-nothing-else"]
    opened = [{(p["protocol"], p["port"]) for p in rule["ports"]} for rule in least["spec"]["egress"]]
    assert opened == [{("UDP", 5353), ("TCP", 5353)}, {("TCP", 4318)}]


def test_an_ingress_of_kubernetes_has_the_path_of_the_settings(render):
    route = {"ingress": {"route": {"enabled": True, "host": "hooks.example.com"}}}
    for values, path in (({}, "/callback"), ({"settings": {"CALLBACK_PATH": "/hook"}}, "/hook")):
        [found] = [d for d in render(PLAIN, route, values) if d["kind"] == "Ingress"]
        assert found["spec"]["rules"][0]["http"]["paths"][0]["path"] == path


def test_the_console_is_reached_by_its_route_and_by_nobody_else(render):
    """Its Service alone opens nothing; a route has its address, and those who are let in."""
    named = {"console": {"enabled": True}}
    for values, let_in in ((render(PRODUCTION), True), (render(PLAIN, named), False)):
        [service] = [d for d in values if d["kind"] == "Service" and d["metadata"]["name"].endswith("-http")]
        console = workloads(values)["console"]
        labels = console["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        [port] = service["spec"]["ports"]
        assert port["targetPort"] in {p["name"] for p in container(console)["ports"]}
        routes = [d for d in values if d["kind"] == "Ingress" and d["metadata"]["name"].endswith("-http")]
        opened = [d["spec"] for d in values if d["metadata"]["name"] == "dingbridge-console-in"]
        assert bool(routes) is bool(opened) is let_in
        if let_in:
            [rule] = routes[0]["spec"]["rules"]
            backend = rule["http"]["paths"][0]["backend"]["service"]
            assert backend == {"name": service["metadata"]["name"], "port": {"name": port["name"]}}
            url = {e["name"]: e.get("value") for e in container(console)["env"]}["CONSOLE_URL"]
            assert url == f"https://{rule['host']}"
            [entry] = opened[0]["ingress"]
            assert entry["ports"] == [{"protocol": "TCP", "port": "console"}]
            assert entry["from"]


def test_a_changed_setting_or_file_restarts_the_pods_that_read_it(render):
    def checksums(*values: Any) -> dict[str, str]:
        pods = {
            n: w["spec"]["template"]["metadata"] for n, w in workloads(render(PRODUCTION, *values)).items()
        }
        return {name: metadata["annotations"]["checksum/settings"] for name, metadata in pods.items()}

    before = checksums()
    owners = {"consumers": {"outbound": {"files": {"owners.toml": "[users]\n"}}}}
    changed = checksums(owners)
    assert {name for name in before if changed[name] != before[name]} == {"outbound"}
    changed = checksums({"settings": {"LOG_LEVEL": "DEBUG"}})
    assert all(changed[name] != before[name] for name in before)


def test_two_releases_in_one_namespace_share_no_object_and_no_pod(render):
    one, two = render(PLAIN), render(PLAIN, release="second")
    names = [{(d["kind"], d["metadata"]["name"]) for d in documents} for documents in (one, two)]
    assert not names[0] & names[1]
    labels = workloads(two)["ingress"]["spec"]["template"]["metadata"]["labels"].items()
    for document in one:
        spec = document.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        selected = selector.get("matchLabels", selector).items()
        assert not selected or not selected <= labels


@pytest.mark.parametrize("case", ["production", "everything plain"])
def test_the_notes_name_every_secret_that_pods_wait_for(case, render, tmp_path):
    """``helm template`` prints no notes, so a copy of the chart has them as an object's text."""
    chart = tmp_path / "dingbridge"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "printed.yaml").write_text(
        '{"kind": "Notes", "text": {{ include "dingbridge/templates/NOTES.txt" . | toJson }}}'
    )
    files = [argument for path in CASES[case] for argument in ("-f", str(path))]
    command = [os.environ["HELM"], "template", "dingbridge", str(chart), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [notes] = [d["text"] for d in yaml.safe_load_all(done.stdout) if d["kind"] == "Notes"]
    wanted = set()
    for workload in workloads(render(*CASES[case])).values():
        variables = [e["valueFrom"]["secretKeyRef"] for e in container(workload)["env"] if "valueFrom" in e]
        wanted |= {(place["name"], place["key"]) for place in variables}
        for volume in pod(workload)["volumes"]:
            for source in volume.get("projected", {}).get("sources", ()):
                wanted |= {(source["secret"]["name"], item["key"]) for item in source["secret"]["items"]}
            if "secret" in volume:
                items = volume["secret"].get("items", [{"key": "apps.toml"}])
                wanted |= {(volume["secret"]["secretName"], item["key"]) for item in items}
    commands = re.findall(r"create secret generic (\S+)((?: --from-file=\S+)+)", notes)
    named = {(name, key) for name, keys in commands for key in re.findall(r"=([^=]+)=", keys)}
    assert named == wanted
    assert len(commands) == len({name for name, _ in wanted}), "each secret is made once"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kafka": {"bootstrapServer": "k:9092"}}, "at '/kafka': additional properties 'bootstrapServer'"),
        ({"kafka": {"bootstrapServers": "kafka"}}, "at '/kafka/bootstrapServers'"),
        ({"kafka": {"bootstrapServers": ""}}, "kafka.bootstrapServers: host:port of your Kafka"),
        ({"image": {"repository": ""}}, "image.repository: the image in a registry of yours"),
        ({"dingtalk": {"appKey": ""}}, "dingtalk.appKey: the Client ID of your app"),
        ({"dingtalk": {"corpId": ""}}, "dingtalk.corpId: the CorpId of the company"),
        ({"settings": {"TOPIC_PREFIXES": "x"}}, "at '/settings': additional properties 'TOPIC_PREFIXES'"),
        (
            {"consumers": {"outbound": {"settings": {"OUTBOUND_OWNER": "x"}}}},
            "at '/consumers/outbound/settings': additional properties 'OUTBOUND_OWNER'",
        ),
        ({"consumers": {"ingress": {}}}, "consumers.ingress: an object of the chart has this name"),
        (
            {"consumers": {"approval": {"autoscaling": {"enabled": True, "maxReplicas": 7}}}},
            "consumers.approval.autoscaling: minReplicas <= maxReplicas <= 6",
        ),
        ({"forward": {"systems": {"a": {}}}}, "forward.file: the text of forward.toml"),
        ({"forward": {"file": "[systems.b]", "systems": {"a": {}}}}, "forward.file has no [systems.a]"),
        (
            {"ingress": {"recovery": {"enabled": True, "apiMonthlyBudget": 4000}}},
            "ingress.recovery.apiMonthlyBudget: must leave something",
        ),
        ({"ingress": {"settings": {"RECOVERY_EVERY_MINUTES": 5}}}, "set ingress.recovery.enabled beside it"),
        ({"console": {"enabled": True, "route": {"enabled": True}}}, "console.route.host: the name by which"),
        ({"console": ROUTED}, "console.settings.TRUSTED_PROXIES: the network of your ingress controller"),
        (
            {"console": ROUTED | {"settings": {"TRUSTED_PROXIES": "10.0.0.0/8"}}},
            "networkPolicies.consoleFrom: your ingress controller",
        ),
        ({"consumers": {"b" * 45: {}}}, "is longer than 52 characters; set fullnameOverride"),
        (
            {"consumers": {"billing": {"image": {"repository": "registry.example.com/billing"}}}},
            "consumers.billing.image: a tag or a digest",
        ),
    ],
)
def test_what_it_cannot_use_is_refused_in_words(values, words, render):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render(PLAIN, values)
    assert words in refused.value.stderr
