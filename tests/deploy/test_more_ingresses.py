"""docs/guide/more-ingresses.md on Kubernetes: the Job that publishes what a pod's volume still holds."""

import kubernetes_validate
import yaml

from tests.deploy.test_kubernetes import VERSIONS
from tests.support.documents import ROOT, blocks
from tests.support.manifests import container, of_kind, pod, workloads


def test_the_job_that_empties_a_volume_is_valid_and_reaches_kafka_alone() -> None:
    [text] = [code for kind, code in blocks(ROOT / "docs" / "guide" / "more-ingresses.md", "yaml")]
    job, ingress = yaml.safe_load(text), workloads()["ingress"]
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    assert container(job)["args"] == ["journal", "publish"]
    # a volume of the ingress's pods, and whatever else they have that it needs
    journal, *others = pod(job)["volumes"]
    [template] = ingress["spec"]["volumeClaimTemplates"]
    prefix = f"{template['metadata']['name']}-{ingress['metadata']['name']}-"
    assert journal["persistentVolumeClaim"]["claimName"].removeprefix(prefix).isdecimal()
    [mount, _] = container(job)["volumeMounts"]
    assert mount in container(ingress)["volumeMounts"]
    assert container(job)["envFrom"] == container(ingress)["envFrom"]
    names = [item["name"] for item in container(job)["env"]]
    assert {"DINGTALK_TOKEN_FILE", "DINGTALK_AES_KEY_FILE"} == set(names)
    [secrets] = [v["projected"]["sources"] for v in pod(ingress)["volumes"] if "projected" in v]
    keys = {(s["secret"]["name"], f"/{item['key']}") for s in secrets for item in s["secret"]["items"]}
    [name] = [v["secret"]["secretName"] for v in others]
    assert {
        (name, item["value"].removeprefix("/run/secrets/dingbridge")) for item in container(job)["env"]
    } <= keys
    assert pod(job)["securityContext"].items() <= pod(ingress)["securityContext"].items()
    # the Service passes no callback to it, and it is let out to Kafka and names
    labels = job["spec"]["template"]["metadata"]["labels"].items()
    [callback] = [s for s in of_kind("Service") if s["metadata"]["name"] == "dingbridge-callback"]
    assert not callback["spec"]["selector"].items() <= labels
    policies = [p["spec"] for p in of_kind("NetworkPolicy") if "egress" in p["spec"]]
    of_all = [p for p in policies if "matchExpressions" not in p["podSelector"]]
    out = [p["egress"] for p in of_all if p["podSelector"]["matchLabels"].items() <= labels]
    assert {port["port"] for [rule] in out for port in rule["ports"]} == {53, 9092}
